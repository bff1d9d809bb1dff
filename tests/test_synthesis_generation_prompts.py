"""Tables of prompts: what they may say, and where a mistake stands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from model.conditioning import Schema
from synthesis.generation.plan import plan_of
from synthesis.generation.prompts import (
    NO_SEED,
    Prompts,
    WrongPrompts,
    prompt_lines,
    read_prompts,
)
from synthesis.generation.wish import in_words, values_of

SCHEMA = Schema()
SITES = {"north": 1, "south": 2}
CONTENT = [
    {"age": 70, "sex": "F", "site": "north", "edema": "present", "n": 3},
    {"age": None, "sex": "", "view": "AP", "seed": 7, "n": 2},
    {"manufacturer": "siemens", "seed": "7"},
]
CSV = """age,sex,view,site,manufacturer,edema,n,seed
70,F,,north,,present,3,

, ,AP,,,,2,7
,,,,siemens,,,7
"""


def read(path: Path, text: str, *, usual_count: int = 1) -> Prompts:
    path.write_text(text, encoding="utf-8")
    return read_prompts(path, SCHEMA, SITES, usual_count=usual_count)


def words(prompts: Prompts) -> list[dict[str, str]]:
    return [in_words(values_of(row, SCHEMA), SITES) for row in prompts.rows]


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.json", json.dumps(CONTENT))])
def test_both_kinds_of_table_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    prompts = read(tmp_path / name, text, usual_count=4)
    assert words(prompts) == [
        {"age": "70", "sex": "F", "site": "north", "edema": "present"},
        {"view": "AP"},
        {"manufacturer": "siemens"},
    ]
    assert prompts.counts.tolist() == [3, 2, 4]
    assert prompts.seeds.tolist() == [NO_SEED, 7, 7]


def test_prompts_that_were_written_down_are_read_back_the_same(tmp_path: Path) -> None:
    prompts = read(tmp_path / "a.csv", CSV)
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.writer(file).writerows(prompt_lines(prompts, SCHEMA, SITES))
    again = read_prompts(tmp_path / "b.csv", SCHEMA, SITES, usual_count=99)
    np.testing.assert_array_equal(again.rows, prompts.rows)
    assert again.counts.tolist() == prompts.counts.tolist()
    assert again.seeds.tolist() == prompts.seeds.tolist()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "agee\n3\n", "a.csv line 2: 'agee' is not something this model knows: give"),
        ("a.csv", "sex\nF\n\nX\n", "a.csv line 4: 'X' is not something this model knows"),
        ("a.csv", 'sex,view\nF,"P\nA"\n', "a.csv line 3: 'P\\nA' is not something"),
        ("a.csv", "age\nold\n", "a.csv line 2: 'old' is no age: give years from 0 to 120"),
        ("a.csv", "sex,n\nF,0\n", "a.csv line 2: n is '0': give a whole number from 1"),
        ("a.csv", "sex,n\nF,2.5\n", "line 2: n is '2.5'"),
        ("a.csv", "sex,seed\nF,-1\n", "line 2: seed is '-1': give a whole number from 0"),
        ("a.csv", "sex,sex\nF,F\n", "a.csv line 1: a title stands there twice"),
        ("a.csv", "sex,n\nF\n", "a.csv line 2: it has 1 cells, the first line names 2 columns"),
        ("a.csv", 'sex\n"F\n', "it is not a table of comma-separated values"),
        ("a.csv", "sex\n", "a.csv: it holds no prompt"),
        ("a.csv", "", "a.csv: it holds no prompt"),
        ("a.json", "[]", "a.json: it holds no prompt"),
        ("a.json", '[{"sex": "F"}, {"sex": "X"}]', "a.json prompt 2: 'X' is not something"),
        ("a.json", '[{"sex": "F"}, 3]', "a.json prompt 2: it is not an object"),
        ("a.json", '{"sex": "F"}', "a.json: it is not a list of objects"),
        ("a.json", '[\n{"sex": F}]', "a.json line 2: it is not JSON"),
        ("a.json", "[" * 100_000, "it is not JSON"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    with pytest.raises(WrongPrompts) as caught:
        read(tmp_path / name, text)
    assert sentence in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"sex\n\xff\n")
    with pytest.raises(WrongPrompts, match="it is not UTF-8 text"):
        read_prompts(tmp_path / "a.csv", SCHEMA, SITES, usual_count=1)
    with pytest.raises(WrongPrompts, match="No such file"):
        read_prompts(tmp_path / "b.csv", SCHEMA, SITES, usual_count=1)


def test_pictures_are_numbered_through_unless_their_prompt_has_a_seed_of_its_own(
    tmp_path: Path,
) -> None:
    plan = plan_of(read(tmp_path / "a.csv", CSV, usual_count=2), seed=3)
    assert plan.prompt_of.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert plan.seeds.tolist() == [3, 3, 3, 7, 7, 7, 7]
    assert plan.numbers.tolist() == [0, 1, 2, 0, 1, 0, 1]
    other = plan_of(read(tmp_path / "a.csv", "sex,n\nF,2\nM,3\n"), seed=3)
    assert other.numbers.tolist() == [0, 1, 2, 3, 4]


def test_a_plan_has_a_digest_of_everything_that_decides_its_pictures(tmp_path: Path) -> None:
    texts = [CSV, CSV.replace("70", "71"), CSV.replace("3,", "4,"), CSV.replace(",7", ",8")]
    digests = [plan_of(read(tmp_path / "a.csv", text), seed=3).digest() for text in texts]
    digests.append(plan_of(read(tmp_path / "a.csv", CSV), seed=4).digest())
    assert len(set(digests)) == len(digests)
    assert plan_of(read(tmp_path / "a.csv", CSV), seed=3).digest() == digests[0]
