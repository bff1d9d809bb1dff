"""What a coordinator reads: every hospital's part, and sums that tell no more than the columns."""

import json

from federation.messages import CountsAnswer, PairTables, Refusal, RefusalCode, SiteCounts
from federation.statistics import FILES, layout
from server.statistics_table import facts, render

FINDINGS = ("edema",)


def counts_of(
    *,
    patients: int | None,
    epsilon: float | None = None,
    max_pairs: int = 0,
    pairs: PairTables | None = None,
    files: dict[str, int] | None = None,
    **given: dict[str, int],
) -> SiteCounts:
    """A hospital that withholds everything but this."""
    shape = layout(FINDINGS)
    return SiteCounts(
        num_patients=patients,
        num_files=sum(files.values()) if files else None,
        files=dict.fromkeys(FILES) | (files or {}),
        table={name: dict.fromkeys(shape[name]) | given.get(name, {}) for name in shape},
        min_cell=10,
        epsilon=epsilon,
        max_pairs=max_pairs,
        pairs=pairs or {},
    )


ANSWERS: dict[str, CountsAnswer] = {
    "a": counts_of(patients=120, sex={"F": 110}, view={"PA": 80, "AP": 30}, files={"usable": 200}),
    "b": counts_of(patients=70, sex={"F": 40, "M": 30}),
    "c": Refusal(code=RefusalCode.STATISTICS, reason="it does not share"),
    "d": Refusal(code=RefusalCode.NO_ANSWER, reason="it was not connected"),
    "e": Refusal(code=RefusalCode.NO_CACHE, reason="it has no cache"),
}


def cells(text: str, *names: str) -> list[str]:
    """One line of the table."""
    (line,) = [line for line in text.splitlines() if line.split()[: len(names)] == list(names)]
    return line.split()[len(names) :]


def test_hospitals_stand_side_by_side_with_their_sum() -> None:
    text = render(ANSWERS, FINDINGS)
    assert text.split("\n")[0].split() == ["a", "b", "c", "d", "e", "sum"]
    assert cells(text, "patients") == [
        "120",
        "70",
        "not",
        "shared",
        "no",
        "answer",
        "refused",
        "190",
    ]
    assert cells(text, "sex", "F") == ["110", "40", "150"]
    assert cells(text, "files", "usable") == ["200", "-", "200+"]


def test_a_withheld_count_is_shown_as_small_and_makes_the_sum_open() -> None:
    assert cells(render(ANSWERS, FINDINGS), "sex", "M") == ["<10", "30", "30+"]


def test_an_attribute_that_is_withheld_as_a_whole_is_not_called_small() -> None:
    assert cells(render(ANSWERS, FINDINGS), "view", "PA") == ["80", "-", "80+"]


def test_lines_without_a_count_are_left_out() -> None:
    text = render(ANSWERS, FINDINGS)
    assert "LATERAL" not in text
    assert "edema" not in text


def test_a_sum_says_nothing_of_who_did_not_give_a_count() -> None:
    shared = counts_of(patients=120, sex={"F": 110})
    other = counts_of(patients=120, sex={"F": 110, "M": 10})
    for beside in (ANSWERS["c"], ANSWERS["d"], counts_of(patients=None)):
        assert (
            facts({"x": shared, "y": beside}, FINDINGS)["sums"]
            == facts({"x": shared}, FINDINGS)["sums"]
        )
    assert facts({"x": other}, FINDINGS)["sums"] != facts({"x": shared}, FINDINGS)["sums"]


def test_every_column_is_explained() -> None:
    text = render(ANSWERS | {"f": counts_of(patients=50, epsilon=1.0)}, FINDINGS)
    notes = dict(line.split(": ", 1) for line in text.split("\n\n")[1].splitlines())
    assert notes["a"] == "counts below 10 are withheld, others rounded down to a multiple of 10"
    assert notes["c"] == "not shared: it does not share"
    assert notes["d"] == "no answer: it was not connected"
    assert notes["e"] == "refused: it has no cache"
    assert "in 95% of counts no more than 24 (epsilon 1)" in notes["f"]  # of scale 8


def test_a_program_gets_everything_with_null_for_withheld() -> None:
    content = json.loads(json.dumps(facts(ANSWERS, FINDINGS)))
    hospital = content["hospitals"]["a"]
    assert (hospital["state"], hospital["min_cell"], hospital["epsilon"]) == ("shared", 10, None)
    assert hospital["counts"]["sex"] == {"F": 110, "M": None}
    assert hospital["counts"]["patients"] == {"all": 120}
    assert hospital["counts"]["edema"]["present"] is None
    assert content["hospitals"]["c"] == {"state": "not shared", "reason": "it does not share"}
    assert content["sums"]["sex"] == {"F": 150, "M": 30}
    assert content["sums"]["age"]["0-9"] is None


def test_a_hospital_with_few_patients_says_that_they_are_few() -> None:
    text = render({"a": counts_of(patients=None)}, FINDINGS)
    assert cells(text, "patients") == ["<10", "0+"]


PAIRS: PairTables = {
    "sex": {"edema": {"F": {"not_present": 40, "present": None}, "M": {"not_present": None, "present": None}}},
    "age": {"edema": {"0-9": {"not_present": None, "present": None}}},
}  # fmt: skip


def test_a_column_says_how_many_tables_of_two_came_and_how_wide_they_make_the_noise() -> None:
    answers = {
        "f": counts_of(patients=50, epsilon=1.0, max_pairs=8, pairs=PAIRS),
        "g": counts_of(patients=50, pairs=PAIRS),
    }
    notes = render(answers, FINDINGS).split("\n\n")[1].splitlines()
    assert (
        "no more than 48 (epsilon 1)" in notes[0]
    )  # of scale 16, where 8 without the tables of two
    assert notes[0].endswith("; 1 of 2 tables of two attributes")
    assert notes[1].endswith("a multiple of 10; 1 of 2 tables of two attributes")


def test_a_program_gets_the_tables_of_two_and_what_they_are_tables_of() -> None:
    answers = {"f": counts_of(patients=50, max_pairs=8, pairs=PAIRS)}
    content = json.loads(json.dumps(facts(answers, FINDINGS)))
    assert content["findings"] == ["edema"]
    assert content["hospitals"]["f"]["pairs"] == PAIRS
    assert content["hospitals"]["f"]["max_pairs"] == 8
