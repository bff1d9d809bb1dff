"""From hospitals' caches or counts to prompts: the commands of the label model."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from client.cache.records import open_cache
from model.conditioning import FINDINGS, Schema
from synthesis.generation.prompts import read_prompts
from synthesis.population.ask import complete, intervene, sample
from synthesis.population.population import load_population, save_population
from tests.toys.population import DEVICES, HEART, Command, Refused, share, table, there

pytestmark = pytest.mark.usefixtures("small_crowd")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, Path]) -> Path:
    from synthesis.population.fitting import fit_population
    from synthesis.population.sources import gather

    path = tmp_path_factory.mktemp("population") / "population.json"
    found = gather(None, [f"{name}={cache}" for name, cache in caches.items()], None)
    population = fit_population(found, seed=0)
    save_population(path, population)
    return path


def test_a_population_like_a_hospitals_has_its_shares_and_its_reports_habits(
    fedcxr: Command, fitted: Path, caches: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "prompts.csv"
    code, said, _ = fedcxr(
        "population", "sample", "-p", fitted, "--n", 3000, "--like", "ward", "-o", out
    )
    assert (code, said.strip()) == (0, f"3000 prompts: {out}")
    lines, rows = table(out), open_cache(caches["ward"]).rows
    columns = dict(zip(Schema().names, rows.T, strict=True))
    for name in (HEART, "edema", DEVICES, "fracture"):
        for state, word in enumerate(("absent", "present", "uncertain", "not_mentioned"), start=1):
            counted = float(np.mean(columns[name] == state))
            assert share(lines, name, word) == pytest.approx(counted, abs=0.05)
    assert share(lines, "view", "AP") == pytest.approx(
        float(np.mean(columns["view"] == 2)), abs=0.05
    )
    assert np.mean([int(line["age"]) for line in lines]) == pytest.approx(
        columns["age"].mean(), abs=2
    )
    together = sum(
        line["edema"] in {"present", "uncertain"} and line["view"] == "AP" for line in lines
    )
    counted = np.isin(columns["edema"], (2, 3)) & (columns["view"] == 2)
    assert together / len(lines) == pytest.approx(counted.mean(), abs=0.05)
    assert {line["site"] for line in lines} == {"ward"}
    assert "race" not in lines[0]  # nobody counted it


def test_no_record_has_no_finding_and_a_finding(fitted: Path) -> None:
    lines = sample(load_population(fitted), 2000, {}, rng=np.random.default_rng(0))
    others = [name for name in FINDINGS if name not in {"no_finding", DEVICES}]
    for line in lines:
        shown = any(line[name] in {"present", "uncertain"} for name in others)
        assert (line["no_finding"] in {"present", "uncertain"}) == (not shown)


def test_quotas_bands_and_what_all_have_in_common_are_kept(
    fedcxr: Command, fitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "prompts.csv"
    fedcxr(
        *("population", "sample", "-p", fitted, "--n", 90, "-o", out, "--equal", "sex"),
        *(
            "--equal",
            "site",
            "--age",
            "55-71",
            "--set",
            f"{HEART}=present",
            "--omit",
            "manufacturer",
        ),
    )
    lines = table(out)
    assert {(line["sex"], line["site"]) for line in lines[:30]} == {
        (sex, site) for sex in "FM" for site in ("clinic", "ward")
    }  # in random order
    counts = Counter((line["sex"], line["site"]) for line in lines)
    assert sorted(counts.values()) == [22, 22, 23, 23]
    ages = [int(line["age"]) for line in lines]
    assert 55 <= min(ages) < max(ages) <= 71
    assert {line[HEART] for line in lines} == {"present"}
    assert "manufacturer" not in lines[0]


def test_what_is_sampled_can_be_drawn(fitted: Path, fedcxr: Command, tmp_path: Path) -> None:
    out = tmp_path / "prompts.csv"
    fedcxr("population", "sample", "-p", fitted, "--n", 20, "-o", out)
    prompts = read_prompts(out, Schema(), {"clinic": 1, "ward": 2}, usual_count=1)
    assert len(prompts) == 20
    assert not np.isnan(prompts.rows[:, 0]).any()


def test_the_same_seed_writes_the_same_prompts(
    fedcxr: Command, fitted: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        fedcxr("population", "sample", "-p", fitted, "--n", 9, "-o", path, "--seed", seed)
    one, two, other = (path.read_bytes() for path in files)
    assert one == two != other


PROMPTS = """age,sex,edema,race,n,seed
63.5,F,,white,2,
,,present,,1,77
,,uncertain,,1,
"""


def test_completing_fills_what_is_open_and_touches_nothing_else(
    fedcxr: Command, fitted: Path, tmp_path: Path
) -> None:
    given, out = tmp_path / "prompts.csv", tmp_path / "full.csv"
    given.write_text(PROMPTS)
    assert fedcxr("population", "complete", given, "-p", fitted, "-o", out)[0] == 0
    lines = table(out)
    for before, after in zip(table(given), lines, strict=True):
        assert {name: after[name] for name, cell in before.items() if cell}.items() <= after.items()
        assert all(after[name] == cell for name, cell in before.items() if cell)
        assert all(after[name] for name in ("age", "sex", "view", "site", *FINDINGS))
    assert [line["race"] for line in lines] == ["white", "", ""]
    assert [line["n"] for line in lines] == ["2", "1", "1"]


def test_what_is_filled_in_goes_together_with_what_was_given(fitted: Path) -> None:
    """By Bayes' rule over the counts of both hospitals: causes, effects and the hospital itself."""
    population, rng = load_population(fitted), np.random.default_rng(0)
    with_edema = complete(population, [{"edema": "present"}] * 2000, rng)
    without = complete(population, [{"edema": "absent"}] * 2000, rng)
    p_heart, p_edema = 0.3, 0.3 * 0.7 + 0.7 * 0.1
    assert there(with_edema, HEART) == pytest.approx(p_heart * 0.7 / p_edema, abs=0.08)
    assert there(without, HEART) == pytest.approx(p_heart * 0.3 / (1 - p_edema), abs=0.08)
    assert there(with_edema, DEVICES) == pytest.approx(0.8, abs=0.07)
    ward = (0.5 * 0.7 + 0.5 * 0.1) / (2 * p_edema)
    assert share(with_edema, "site", "ward") == pytest.approx(ward, abs=0.08)


@pytest.mark.slow
def test_seeing_an_old_patient_is_not_making_one_old(fitted: Path) -> None:
    """Within neither hospital has age any effect: all that it tells is which hospital it is."""
    population, rng = load_population(fitted), np.random.default_rng(0)
    everybody = sample(population, 1500, {}, rng=rng)
    seen = [there(sample(population, 1500, {"age": age}, rng=rng), "edema") for age in ("30", "80")]
    made = [
        there(intervene(population, everybody, {"age": age}, rng), "edema") for age in ("30", "80")
    ]
    assert seen[1] - seen[0] > 0.15
    assert abs(made[1] - made[0]) < 0.1
    moved = intervene(population, everybody, {"age": "80"}, rng)
    for before, after in zip(everybody, moved, strict=True):
        assert (before["site"], before["sex"]) == (after["site"], after["sex"])
        assert after["age"] == "80"


def test_an_intervention_reaches_effects_in_their_words_and_leaves_causes(
    fedcxr: Command, fitted: Path, tmp_path: Path
) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    fedcxr("population", "sample", "-p", fitted, "--n", 400, "--set", "edema=absent", "-o", before)
    fedcxr("population", "intervene", before, "-p", fitted, "--set", "edema=present", "-o", after)
    old, new = table(before), table(after)
    assert {line["edema"] for line in new} == {"present"}
    assert there(new, DEVICES) > there(old, DEVICES) + 0.4
    assert there(new, "no_finding") == 0
    for one, two in zip(old, new, strict=True):
        assert all(one[name] == two[name] for name in ("age", "sex", "site", HEART, "fracture"))
        if one[DEVICES] in {"present", "uncertain"}:
            assert two[DEVICES] == one[DEVICES]


def test_showing_says_what_it_was_made_from_and_which_arrows_do_what(
    fedcxr: Command, fitted: Path
) -> None:
    code, out, _ = fedcxr("population", "show", "-p", fitted)
    assert code == 0
    assert "clinic: 600 patients, counted exactly; this protects nobody" in out
    (line,) = [line for line in out.splitlines() if line.startswith("cardiomegaly -> edema: ")]
    odds = float(line.split(" x ")[1].split()[0])
    assert 10 < odds < 45  # (0.7 / 0.3) / (0.1 / 0.9) is 21
    assert "no_finding: clinic " in out
    facts = json.loads(fedcxr("population", "show", "-p", fitted, "--json")[1])
    assert facts["shares"]["ward"][HEART]["present"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sample", "--n", 5, "--like", "north"), "site is 'north': give one of clinic, ward"),
        (("sample", "--n", 5, "--set", "edema"), "'edema' cannot be used: write NAME=VALUE"),
        (("sample", "--n", 5, "--set", "edema=bad"), "edema is 'bad': give one of absent, present"),
        (("sample", "--n", 5, "--set", "race=white"), "'race' is nothing this population knows"),
        (("sample", "--n", 5, "--set", "age=old"), "age is 'old': give one of years from 0"),
        (("sample", "--n", 5, "--age", "80-60"), "--age 80-60: write two ages such as 60-80"),
        (("sample", "--n", 5, "--age", "young"), "--age 'young': write two ages"),
        (("sample", "--n", 5, "--age", "60-70", "--set", "age=50"), "--age 60-70: write two ages"),
        (("sample", "--n", 5, "--equal", "shoes"), "'shoes' is nothing this population knows"),
        (("sample", "--n", 5, "--equal", "sex", "--set", "sex=F"), "sex cannot be the same in all"),
        (
            ("sample", "--n", 5, "--set", "no_finding=present", "--set", "edema=present"),
            "what is given hardly ever occurs together",
        ),
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_refused(
    refused: Refused, fitted: Path, tmp_path: Path, words: tuple[object, ...], expected: str
) -> None:
    message = refused("population", *words, "-p", fitted, "-o", tmp_path / "x.csv")
    assert expected in message
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edema,edma\npresent,\n", "the column 'edma' is none of age, sex"),
        ("edema\nbad\n", "record 1: edema is 'bad'"),
        ("edema,sex\npresent\n", "record 1 has fewer cells"),
        ("edema\n", "at least one prompt"),
        ("edema,no_finding\n,\npresent,present\n", "record 2: what is given hardly ever occurs"),
    ],
)
def test_a_table_that_cannot_be_completed_is_refused_with_its_line(
    refused: Refused, fitted: Path, tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(text)
    assert expected in refused("population", "complete", path, "-p", fitted, "-o", tmp_path / "o")


def test_a_rule_is_not_set_against_what_it_follows_from(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("age\n50\n")
    words = ("population", "intervene", path, "-p", fitted, "-o", tmp_path / "o")
    message = refused(*words, "--set", "no_finding=absent")
    assert message.startswith("no_finding cannot be set to something else than present")


def test_a_file_that_is_no_population_is_refused(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "population.json"
    for text, why in (
        ("{}", "does not begin with"),
        ("no", "it is not JSON"),
        (fitted.read_text().replace('"base"', '"bass"'), "missing or malformed"),
    ):
        path.write_text(text)
        assert why in refused("population", "show", "-p", path)
    assert "No such file" in refused("population", "show", "-p", tmp_path / "none.json")


def test_a_population_is_read_as_it_was_written(fitted: Path, tmp_path: Path) -> None:
    save_population(tmp_path / "copy.json", load_population(fitted))
    assert (tmp_path / "copy.json").read_bytes() == fitted.read_bytes()
