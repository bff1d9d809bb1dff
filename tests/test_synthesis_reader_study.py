"""The reader study: what a page gives away, what counts as an answer, and what a score says."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.arrays import Arrays
from model.conditioning import FINDINGS, Metadata, Schema
from model.folder import save_model
from model.manifest import Manifest
from synthesis.proportions import chance_of_guessing, fewest_that_differ, share
from synthesis.reader_study.agreement import cohen_kappa, fleiss_kappa
from synthesis.reader_study.booklet import read_key
from synthesis.reader_study.detection import detect

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
SIDE = 16
HALF = 6


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    random_weights: Arrays,
    fill_cache: Callable[..., None],
    toy_manifest: Manifest,
) -> Path:
    """A model that draws noise, and a cache of flat pictures: anything that tells them apart shows."""
    from client.tally import Tally

    root = tmp_path_factory.mktemp("reader")
    save_model(root / "model", random_weights, toy_manifest)
    num_records = 3 * HALF
    levels = np.arange(num_records, dtype=np.uint16) * 3000
    row = Schema().row(
        Metadata(age=50.0, sex="F", view="PA", race=None, site=None, manufacturer=None, findings={})
    )
    held_out = np.arange(num_records) >= HALF
    fill_cache(
        root / "cache",
        images=np.broadcast_to(levels[:, None, None], (num_records, SIDE, SIDE)).copy(),
        rows=np.tile(row, (num_records, 1)),
        # Twelve held-out radiographs of six patients.
        patients=np.where(held_out, np.arange(num_records) // 2, 100).astype(np.uint64),
        held_out=held_out,
        findings=FINDINGS,
        tally=Tally(
            num_files=num_records,
            num_usable=num_records,
            refused={},
            num_patients=HALF + 1,
            num_held_out=2 * HALF,
        ),
    )
    return root


@pytest.fixture
def make(fedcxr: Command, folders: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a small study."""

    def run(*words: object, name: str = "study") -> Path:
        folder = tmp_path / name
        code, _, err = fedcxr(
            *("reader-study", "make", folders / "model", "--real", folders / "cache"),
            *("--n", 2 * HALF, "--steps", 1, "-o", folder, *words),
        )
        assert (code, err) == (0, "")
        return folder

    return run


def booklet_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="booklet">(.*?)</script>', page.read_text()
    )
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def answers_of(
    study: Path, reader: int, *, right: Callable[[int], bool], presentations: int = 1
) -> dict[str, Any]:
    """A reader who is right about some pictures, by their number."""
    key = read_key(study)
    other = {"real": "synthetic", "synthetic": "real"}
    answers = [
        {
            "presentation": presentation,
            "picture": mark,
            "choice": kind if right(number) else other[kind],
            "confidence": 3,
            "comment": "",
        }
        for presentation in range(1, presentations + 1)
        for number, (mark, kind) in enumerate(zip(key.marks[reader], key.kinds, strict=True))
    ]
    return {"format": 1, "study": key.study, "reader": reader, "answers": answers}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_half_of_the_pictures_are_real_and_each_of_another_held_out_patient(
    make: Callable[..., Path],
) -> None:
    study = make()
    key = read_key(study)
    shown = booklet_of(study / "readers" / "reader-1.html")["pictures"]
    levels = set()
    for mark, kind in key.kind_of(1).items():
        grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[mark]))))
        assert (grey.std() == 0) == (kind == "real")
        if kind == "real":
            levels.add(round(float(grey[0, 0]) / 255 * 65535 / 3000))
    assert sorted(key.kinds) == ["real"] * HALF + ["synthetic"] * HALF
    assert len({level // 2 for level in levels}) == HALF
    assert min(levels) >= HALF  # the first ones are in training


def test_nothing_but_the_pixels_tells_real_from_synthetic(make: Callable[..., Path]) -> None:
    study = make("--readers", 2)
    key = read_key(study)
    pictures = booklet_of(study / "readers" / "reader-1.html")["pictures"]
    chunks = set()
    for encoded in pictures.values():
        content = base64.b64decode(encoded)
        with Image.open(io.BytesIO(content)) as image:
            chunks.add((len(content), content[:33], image.mode, image.size, str(image.info)))
    assert len(chunks) == 1
    page = (study / "readers" / "reader-1.html").read_text()
    assert str(key.seed) not in page
    assert not any(mark in page for mark in key.marks[2])
    kinds = [key.kind_of(1)[mark] for mark in pictures]
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))


def test_readers_have_their_own_orders_and_marks_and_each_presentation_another_order(
    make: Callable[..., Path],
) -> None:
    study = make("--readers", 2, "--presentations", 2)
    first, second = (booklet_of(study / "readers" / f"reader-{n}.html") for n in (1, 2))
    assert set(first["pictures"]).isdisjoint(second["pictures"])
    numbers = read_key(study).marks
    orders = [
        [numbers[reader].index(mark) for mark in order]
        for reader, booklet in ((1, first), (2, second))
        for order in booklet["presentations"]
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(2 * HALF)) for order in orders)


def test_a_seed_makes_the_same_pages_again_and_without_one_they_differ(
    make: Callable[..., Path],
) -> None:
    def page(*words: object, name: str) -> bytes:
        return (make(*words, name=name) / "readers" / "reader-1.html").read_bytes()

    assert page("--seed", 5, name="a") == page("--seed", 5, name="b")
    assert page(name="c") != page(name="d")


def test_the_page_loads_nothing_says_that_it_stays_and_only_its_owner_can_read_it(
    make: Callable[..., Path],
) -> None:
    study = make()
    path = study / "readers" / "reader-1.html"
    page = path.read_text()
    assert "must stay in the hospital" in page
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"https?:|src=\"(?!data:)", page)
    assert {file.stat().st_mode & 0o777 for file in (path, study / "key.json")} == {0o600}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--n", 14), "needs 7 real radiographs of different held-out patients, the cache has 6"),
        (("--n", 5), "half of the radiographs are real, so 5 will not do"),
    ],
)
def test_a_study_that_cannot_be_made_is_refused(
    refused: Refused, folders: Path, tmp_path: Path, words: tuple[object, ...], sentence: str
) -> None:
    out = tmp_path / "out"
    message = refused(
        *("reader-study", "make", folders / "model", "--real", folders / "cache"),
        *("--steps", 1, "-o", out, *words),
    )
    assert sentence in message
    assert not out.exists()


def test_a_study_is_not_written_over_another(
    refused: Refused, make: Callable[..., Path], folders: Path
) -> None:
    study = make()
    words = ("reader-study", "make", folders / "model", "--real", folders / "cache", "-o", study)
    assert "holds a reader study already" in refused(*words, "--n", 4, "--steps", 1)


def test_a_score_counts_against_the_key(
    fedcxr: Command, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make("--readers", 2)
    files = [
        written(tmp_path / "1.json", answers_of(study, 1, right=lambda _: True)),
        # Right about every real one and two synthetic ones.
        written(tmp_path / "2.json", answers_of(study, 2, right=lambda n: n < HALF + 2)),
    ]
    code, out, _ = fedcxr("reader-study", "score", study, *files, "--json")
    result = json.loads(out)
    assert code == 0
    perfect, careless = (row["detection"] for row in result["readers"])
    assert (perfect["accuracy"]["count"], perfect["auroc"]) == (12, 1.0)
    assert perfect["p_value"] == pytest.approx(2 / 2**12)
    counts = [careless[name]["count"] for name in ("accuracy", "sensitivity", "specificity")]
    assert counts == [8, 2, 6]
    assert careless["criterion"] > 0  # leans towards "real"
    assert result["together"][0]["value"] == pytest.approx(20 / 24)
    page = (study / "result.html").read_text()
    assert "Of 2 readings, 1 better than chance, 1 not told from chance." in page
    assert json.loads((study / "result.json").read_text())["study"] == result["study"]


def test_a_reader_who_answers_twice_is_compared_with_the_first_time(
    fedcxr: Command, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make("--presentations", 2)
    file = written(
        tmp_path / "1.json", answers_of(study, 1, right=lambda n: n % 3 > 0, presentations=2)
    )
    code, out, _ = fedcxr("reader-study", "score", study, file, "--json")
    result = json.loads(out)
    assert code == 0
    assert [row["presentation"] for row in result["readers"]] == [1, 2]
    assert result["within"][0]["value"] == 1.0
    assert result["between"] == []


def test_what_readers_wrote_is_shown_as_text(
    fedcxr: Command, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make()
    content = answers_of(study, 1, right=lambda _: True)
    content["answers"][0]["comment"] = "<script>alert(1)</script>"
    assert fedcxr("reader-study", "score", study, written(tmp_path / "1.json", content))[0] == 0
    page = (study / "result.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page


def _shorter(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"answers": content["answers"][:-5]}


def test_an_unfinished_reader_is_refused_or_scored_as_far_as_answered(
    fedcxr: Command, refused: Refused, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make()
    content = _shorter(answers_of(study, 1, right=lambda _: True))
    file = written(tmp_path / "1.json", content)
    message = refused("reader-study", "score", study, file)
    assert f"{file} has 7 of 12 answers" in message
    code, out, _ = fedcxr("reader-study", "score", study, file, "--incomplete", "--json")
    assert code == 0
    assert json.loads(out)["readers"][0]["detection"]["accuracy"]["total"] == 7


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda content: content | {"study": "0" * 16}, "answers another study"),
        (lambda content: content | {"reader": 7}, "answers another study"),
        (lambda content: content | {"format": 2}, "is not a whole file of answers"),
        (lambda content: [], "is not a whole file of answers"),
        (lambda content: content | {"answers": 2 * content["answers"]}, "is not a whole file"),
        (lambda content: content | {"answers": [{"picture": "x"}]}, "is not a whole file"),
        (
            lambda content: content | {"answers": [content["answers"][0] | {"confidence": 9}]},
            "is not a whole file",
        ),
        (
            lambda content: content | {"answers": [content["answers"][0] | {"presentation": 0}]},
            "is not a whole file",
        ),
    ],
    ids=["study", "reader", "format", "list", "twice", "fields", "confidence", "presentation"],
)
def test_a_file_that_does_not_answer_this_study_is_refused(
    refused: Refused,
    make: Callable[..., Path],
    tmp_path: Path,
    spoil: Callable[[dict[str, Any]], object],
    sentence: str,
) -> None:
    study = make()
    file = written(tmp_path / "x.json", spoil(answers_of(study, 1, right=lambda _: True)))
    assert sentence in refused("reader-study", "score", study, file)


def test_two_files_of_one_reader_are_refused(
    refused: Refused, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make()
    content = answers_of(study, 1, right=lambda _: True)
    files = [written(tmp_path / name, content) for name in ("a.json", "b.json")]
    assert "are both of reader 1" in refused("reader-study", "score", study, *files)


def test_a_folder_without_a_whole_key_is_no_study(
    refused: Refused, make: Callable[..., Path], tmp_path: Path
) -> None:
    study = make()
    file = written(tmp_path / "1.json", answers_of(study, 1, right=lambda _: True))
    assert "it has no key.json" in refused("reader-study", "score", tmp_path, file)
    (study / "key.json").write_text("{}")
    assert "its key.json is damaged" in refused("reader-study", "score", study, file)


def test_exact_shares_are_those_of_the_tables() -> None:
    # Clopper-Pearson 95 % intervals as printed in tables: 5 of 10, 10 of 10, 0 of 10, 26 of 50.
    found = [share(count, total) for count, total in ((5, 10), (10, 10), (0, 10), (26, 50))]
    ends = [(each.interval.low, each.interval.high) for each in found]
    np.testing.assert_allclose(
        ends, [(0.1871, 0.8129), (0.6915, 1), (0, 0.3085), (0.3742, 0.6634)], atol=5e-5
    )


def test_chance_is_the_binomial_distribution_with_a_fair_coin() -> None:
    assert chance_of_guessing(6, 6) == pytest.approx(2 / 64)
    assert chance_of_guessing(0, 6) == pytest.approx(2 / 64)
    assert chance_of_guessing(3, 6) == 1.0
    assert (fewest_that_differ(6), fewest_that_differ(5), fewest_that_differ(50)) == (6, None, 33)


def test_kappas_are_those_of_worked_examples() -> None:
    # 20 both yes, 5 and 10 one of them, 15 both no: observed .7, by chance .5.
    first = np.array([True] * 25 + [False] * 25)
    second = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(first, ~first) == pytest.approx(-1.0)
    # Three readers, four pictures with 3, 2, 1, 0 ayes: observed 2/3, by chance 1/2.
    ayes = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=np.bool_)
    assert fleiss_kappa(ayes) == pytest.approx(1 / 3)
    assert np.isnan(cohen_kappa(np.ones(4, dtype=np.bool_), np.ones(4, dtype=np.bool_)))


def test_d_prime_and_criterion_have_the_sign_of_skill_and_leaning() -> None:
    truth = np.arange(40) % 2 == 0
    always_real = np.full(40, -2.0)
    skilled = np.where(truth, 4.0, -4.0)
    rng = np.random.default_rng(0)
    leaning = detect(always_real, truth, generator=rng)
    assert leaning.d_prime == pytest.approx(0)
    assert leaning.criterion > 1
    assert leaning.auroc == 0.5
    assert leaning.verdict == "not told from chance"
    assert detect(skilled, truth, generator=rng).d_prime > 3
    assert detect(-skilled, truth, generator=rng).verdict == "worse than chance"
