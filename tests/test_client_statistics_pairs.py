"""Tables of two attributes: what one patient changes, what is withheld, what noise covers, and how many ever leave."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

import client.statistics
from client.cache.records import Records
from client.config import SiteConfig, StatisticsPolicy
from client.patient_counts import patients_by_pair, patients_by_value
from client.statistics import answer_counts, count, released_counts, with_pairs
from client.tally import Tally
from federation.label_graph import load_label_graph, pairs_of
from federation.messages import CountsRequest, PairTables, SiteCounts
from federation.statistics import Pair, layout, noise_scale, pair_layout
from federation.wire.counts import pack_counts, unpack_counts
from model.conditioning import FINDINGS, Metadata, Schema
from privacy.left_out import left_out

if TYPE_CHECKING:
    from client.cache.images import Images

PAIRS = pairs_of(load_label_graph(None, FINDINGS), FINDINGS)
SHAPE = pair_layout(FINDINGS)
PLAIN = StatisticsPolicy(share=True, max_pairs=len(PAIRS))
EXACT = replace(PLAIN, min_cell=1)
NOISY = replace(PLAIN, epsilon=1.0)
USUAL = Metadata(
    age=57.0, sex="F", view="PA", race="white", site=1, manufacturer=5,
    findings=dict.fromkeys(FINDINGS, "absent"),
)  # fmt: skip


def records_of(*patients: Metadata | Sequence[Metadata]) -> Records:
    """A hospital's records, patient after patient."""
    of_each = [[one] if isinstance(one, Metadata) else list(one) for one in patients]
    keys = [key for key, found in enumerate(of_each) for _ in found]
    rows = [Schema().row(metadata) for found in of_each for metadata in found]
    return Records(
        images=cast("Images", None),
        rows=np.array(rows, np.float32).reshape(len(rows), -1),
        patients=np.array(keys, np.uint64) + np.uint64(2**63),
        held_out=np.zeros(len(rows), np.bool_),
        findings=FINDINGS,
        tally=Tally(
            num_files=len(rows), num_usable=len(rows), refused={}, num_patients=len(patients),
            num_held_out=0,
        ),
    )  # fmt: skip


def everybody(records: Records) -> np.ndarray:
    return np.ones(len(records), np.bool_)


def pairs_given(records: Records, policy: StatisticsPolicy, pairs: Sequence[Pair]) -> PairTables:
    return with_pairs(count(records, policy), records, policy, pairs).pairs


def given(tables: PairTables) -> list[Pair]:
    """Pairs of which at least one count was given."""
    return [
        (first, second)
        for first, seconds in tables.items()
        for second, table in seconds.items()
        if any(number is not None for row in table.values() for number in row.values())
    ]


def test_findings_count_as_present_where_a_report_is_uncertain_and_as_not_where_it_is_silent() -> (
    None
):
    states = ("absent", "present", "uncertain", "not_mentioned")
    people = [
        replace(USUAL, sex=sex, findings={"edema": state})
        for sex, state in product(("F", "M"), states)
    ]
    records = records_of(*people, replace(USUAL, findings={"edema": "uncertain"}))
    tables = pairs_given(records, EXACT, [("sex", "edema")])
    assert tables["sex"]["edema"] == {
        "F": {"not_present": 2, "present": 3},
        "M": {"not_present": 2, "present": 2},
    }


def test_a_patient_counts_under_the_first_record_that_has_both_values() -> None:
    no_age, no_view = replace(USUAL, age=None, view="AP"), replace(USUAL, age=30.0, view=None)
    both, later = replace(USUAL, age=70.0, view="PA"), replace(USUAL, age=71.0, view="AP")
    records = records_of([no_age, no_view, both, later])
    tables = pairs_given(records, EXACT, [("view", "age")])["view"]["age"]
    assert tables["PA"]["70-79"] == 1
    assert sum(n or 0 for row in tables.values() for n in row.values()) == 1


def test_a_patient_without_both_values_on_one_record_is_in_no_cell() -> None:
    records = records_of([replace(USUAL, age=None), replace(USUAL, view=None)])
    assert sum(patients_by_pair(records, ("view", "age"), everybody(records))) == 0


def test_one_patient_changes_one_count_of_every_table_by_one_and_the_noise_is_made_for_that() -> (
    None
):
    others: list[Metadata | Sequence[Metadata]] = [
        USUAL,
        [USUAL, replace(USUAL, sex="M")],
        replace(USUAL, age=None),
    ]
    odd = Metadata(
        age=4.0, sex="M", view="LATERAL", race="black", site=2, manufacturer=1,
        findings=dict.fromkeys(FINDINGS, "present"),
    )  # fmt: skip
    many = [odd, USUAL, replace(odd, view="AP", sex="F"), replace(odd, age=None)] * 40
    without, with_one = records_of(*others), records_of(*others, many)
    changes = [
        np.abs(
            np.subtract(
                patients_by_pair(with_one, pair, everybody(with_one)),
                patients_by_pair(without, pair, everybody(without)),
            )
        ).sum()
        for pair in PAIRS
    ]
    assert set(changes) == {1}
    one_way = zip(
        patients_by_value(with_one).values(), patients_by_value(without).values(), strict=True
    )
    total = sum(changes) + sum(np.abs(np.subtract(one, two)).sum() for one, two in one_way) + 1
    assert noise_scale(FINDINGS, 1.0, max_pairs=len(PAIRS)) == total


def test_a_rare_patient_leaves_every_table_as_it_is_without_it() -> None:
    crowd = [replace(USUAL, sex=sex) for sex in "FM"] * 104
    rare = Metadata(
        age=104.0, sex="F", view="OTHER", race="asian", site=1, manufacturer=15,
        findings=dict.fromkeys(FINDINGS, "present"),
    )  # fmt: skip
    with_one = pairs_given(records_of(*crowd, rare), PLAIN, PAIRS)
    assert with_one == pairs_given(records_of(*crowd), PLAIN, PAIRS)
    assert len(given(with_one)) == len(PAIRS)


def test_counts_without_noise_come_in_steps_lack_a_tenth_and_leave_small_cells_out() -> None:
    crowd = [USUAL] * 203 + [replace(USUAL, sex="M")] * 5
    records = records_of(*crowd)
    table = pairs_given(records, PLAIN, [("view", "sex")])["view"]["sex"]
    is_out = left_out(records.patients, "view sex")
    assert 0 < is_out.sum() < 60
    assert table["PA"] == {"F": int((~is_out[:203]).sum()) // 10 * 10, "M": None}
    assert table["AP"] == {"F": None, "M": None}


def test_what_is_withheld_cannot_be_had_from_the_counts_beside_it() -> None:
    """Nine women of 100 have edema; 91 + 9 women, and ten men: 100 women less 90 without would give them away."""
    sick = replace(USUAL, findings=dict(USUAL.findings) | {"edema": "present"})
    records = records_of(*[USUAL] * 91, *[sick] * 9, *[replace(USUAL, sex="M")] * 110)
    counts = with_pairs(count(records, PLAIN), records, PLAIN, [("sex", "edema")])
    women, table = counts.table["sex"]["F"], counts.pairs["sex"]["edema"]
    assert women == 100
    assert table["F"]["present"] is None
    shown = table["F"]["not_present"]
    assert shown is not None
    most_without_edema = shown + PLAIN.min_cell - 1
    num_out = int(
        left_out(records.patients, "sex edema").sum()
    )  # women, for all that a reader knows
    assert women - most_without_edema > 0
    assert women - most_without_edema - num_out <= 0


def test_every_cell_gets_noise_of_the_scale_of_all_tables_that_may_ever_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scales = []

    def one_hundred(scale: object) -> int:
        scales.append(scale)
        return 100

    monkeypatch.setattr(client.statistics, "draw_discrete_laplace", one_hundred)
    tables = pairs_given(records_of(*[USUAL] * 40), NOISY, [("view", "sex")])
    assert tables["view"]["sex"]["PA"] == {"F": 140, "M": 100}  # nobody is left out
    num_counts = 1 + sum(map(len, layout(FINDINGS).values())) + 4 * 2
    assert scales == [noise_scale(FINDINGS, 1.0, max_pairs=len(PAIRS))] * num_counts


@pytest.mark.slow
def test_the_noise_that_leaves_has_the_width_that_is_claimed_and_no_other() -> None:
    policy = replace(NOISY, epsilon=20.0, min_cell=1)
    records = records_of(
        *[replace(USUAL, sex=sex, view=view) for sex in "FM" for view in ("PA", "AP")] * 500
    )
    scale = float(noise_scale(FINDINGS, 20.0, policy.max_pairs))
    pair, alone = ("view", "sex"), count(records, policy)
    draws = [
        abs(number - 500)
        for _ in range(150)
        for row in with_pairs(alone, records, policy, [pair]).pairs["view"]["sex"].values()
        for number in row.values()
        if number is not None and number > 250
    ]
    ratio = math.exp(-1 / scale)
    mean = 2 * ratio / (1 - ratio**2)  # of |k| under the discrete Laplace law
    error = mean / math.sqrt(len(draws))  # its standard deviation is about its mean
    assert len(draws) == 600
    assert abs(np.mean(draws) - mean) < 5 * error
    assert abs(np.mean(draws) - 1.5 * mean) > 5 * error
    assert abs(np.mean(draws) - 0.5 * mean) > 5 * error


@pytest.fixture
def site(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path, num_records=60, statistics=replace(NOISY, max_pairs=3))


CROWD = records_of(*[USUAL] * 4000)


def test_a_hospital_gives_as_many_tables_as_its_policy_lets_out_whoever_asks_for_others(
    site: SiteConfig,
) -> None:
    first = released_counts(site, CROWD, PAIRS[:2])
    second = released_counts(site, CROWD, PAIRS[1:9])
    assert given(first.pairs) == sorted(PAIRS[:2])
    assert sorted(given(second.pairs)) == sorted(PAIRS[1:3])
    assert given(released_counts(site, CROWD, PAIRS[3:]).pairs) == []


def test_a_pair_that_is_asked_for_again_gets_the_same_noise_beside_whatever_others(
    site: SiteConfig,
) -> None:
    first, second = PAIRS[0]
    alone = released_counts(site, CROWD, PAIRS[:1])
    beside = released_counts(site, CROWD, (PAIRS[2], PAIRS[0]))
    assert beside.pairs[first][second] == alone.pairs[first][second]
    assert beside.table == alone.table == released_counts(site, CROWD).table
    assert beside.num_patients == alone.num_patients
    assert len(list((site.state_path / "statistics").glob("*.json"))) == 1


def test_without_a_word_in_its_policy_a_hospital_gives_no_table_of_two() -> None:
    policy = StatisticsPolicy(share=True, min_cell=1)
    assert given(pairs_given(CROWD, policy, PAIRS)) == []
    assert noise_scale(FINDINGS, 1.0, policy.max_pairs) == noise_scale(FINDINGS, 1.0)


def test_what_was_asked_for_travels_and_what_was_not_does_not(site: SiteConfig) -> None:
    asked = CountsRequest(findings=FINDINGS, pairs=PAIRS[:2])
    answer_counts(site, CountsRequest(findings=FINDINGS, pairs=PAIRS[2:3]))
    answer = answer_counts(site, asked)
    assert isinstance(answer, SiteCounts)
    assert {(one, two) for one, tables in answer.pairs.items() for two in tables} == set(PAIRS[:2])
    assert unpack_counts(pack_counts(answer, asked), asked) == answer
