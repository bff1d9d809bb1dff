"""Dealing patients to hospitals: each to exactly one, by what was asked, the same for the same seed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.public_sets.partition import (
    HELD_OUT,
    Partition,
    PartitionImpossible,
    WrongPartition,
    deal,
)
from simulation.public_sets.record import PublicRecord

RECORD = PublicRecord(picture=Path("x.png"), patient="", study="s", instance="i", label_key="k")


def patients(**choices: Sequence[object]) -> list[PublicRecord]:
    """A radiograph per value; the patients are called 0, 1, 2 ..."""
    values = zip(*choices.values(), strict=True)
    return [
        replace(RECORD, patient=f"{number:04d}", **dict(zip(choices, row, strict=True)))
        for number, row in enumerate(values)
    ]


def members(sites: dict[str, str], site: str) -> set[str]:
    return {patient for patient, name in sites.items() if name == site}


def attribute_of(
    records: Iterable[PublicRecord], sites: dict[str, str], site: str, name: str
) -> set[object]:
    return {getattr(record, name) for record in records if sites[record.patient] == site}


@pytest.mark.parametrize("by", ["view", "sex", "race", "manufacturer"])
def test_each_value_of_an_attribute_gets_a_hospital(by: str) -> None:
    records = patients(**{by: ["Ax"] * 50 + ["B y"] * 30})
    sites = deal(records, Partition(by=by))
    assert set(sites.values()) == {f"{by}-ax", f"{by}-b-y", HELD_OUT}
    assert attribute_of(records, sites, f"{by}-ax", by) == {"Ax"}
    assert attribute_of(records, sites, f"{by}-b-y", by) == {"B y"}
    assert Counter(sites.values()) == {f"{by}-ax": 45, f"{by}-b-y": 27, HELD_OUT: 8}


def test_a_patient_goes_where_most_radiographs_belong_with_all_of_them() -> None:
    views = ["PA", "PA", "AP", "AP", "AP", "PA"]
    names = ["one", "one", "one", "two", "two", "two"]
    records = [replace(RECORD, patient=n, view=v) for n, v in zip(names, views, strict=True)]
    records += patients(view=["PA", "AP"] * 20)
    sites = deal(records, Partition(by="view", held_out=0.01))
    assert sites["one"] in {"view-pa", HELD_OUT}
    assert sites["two"] in {"view-ap", HELD_OUT}


def test_what_is_left_over_shares_the_last_hospital() -> None:
    records = patients(view=["PA"] * 50 + ["AP"] * 30 + ["LATERAL"] * 15 + [None] * 5)
    sites = deal(records, Partition(by="view", num_sites=2))
    assert set(sites.values()) == {"view-pa", "view-ap-and-rest", HELD_OUT}
    shared = attribute_of(records, sites, "view-ap-and-rest", "view")
    assert shared == {"AP", "LATERAL", None}


def test_a_rare_value_makes_no_hospital_of_its_own_unless_asked() -> None:
    records = patients(sex=["F"] * 120 + ["M"] * 119 + [None])
    assert set(deal(records, Partition(by="sex")).values()) == {"sex-f", "sex-m-and-rest", HELD_OUT}
    asked = deal(records, Partition(by="sex", num_sites=3))
    assert set(asked.values()) == {"sex-f", "sex-m", "sex-unknown", HELD_OUT}


def test_ages_fall_into_bands_with_about_as_many_patients() -> None:
    records = patients(age=[float(age) for age in np.arange(300) % 90])
    sites = deal(records, Partition(by="age", num_sites=3, held_out=0.01))
    assert sorted(set(sites.values()) - {HELD_OUT}) == ["age-0-24", "age-25-55", "age-56-89"]
    ages = attribute_of(records, sites, "age-25-55", "age")
    assert ages == {float(age) for age in range(25, 56)}
    assert min(Counter(sites.values())[site] for site in set(sites.values()) - {HELD_OUT}) > 85


def test_a_set_without_ages_cannot_be_dealt_by_age() -> None:
    with pytest.raises(PartitionImpossible, match="to 3 sites by age: they fall into 1 group"):
        deal(patients(age=[None] * 9), Partition(by="age"))


def test_patients_who_ever_had_the_finding_go_to_one_hospital() -> None:
    present, absent = {"edema": "present"}, {"edema": "absent"}
    records = patients(findings=[present] * 10 + [absent] * 10 + [{"edema": "uncertain"}] * 10)
    records += [replace(record, findings=absent) for record in records[:10]]
    sites = deal(records, Partition(by="finding", finding="edema"))
    assert set(sites.values()) == {"with-edema", "without-edema", HELD_OUT}
    assert members(sites, "with-edema") < {f"{number:04d}" for number in range(10)}


def test_chance_makes_hospitals_of_equal_size() -> None:
    sites = deal(patients(view=["PA"] * 100), Partition(by="random", num_sites=3, held_out=0.01))
    sizes = Counter(sites.values())
    assert sorted(sizes[f"site-{number}"] for number in (1, 2, 3)) == [32, 32, 33]


@pytest.mark.parametrize(("alpha", "low", "high"), [(1000.0, 0.0, 0.12), (0.05, 0.35, 1.0)])
def test_a_small_alpha_makes_hospitals_that_have_other_findings(
    alpha: float, low: float, high: float
) -> None:
    names = ("edema", "fracture", "pneumonia", "atelectasis")
    records = patients(findings=[{name: "present"} for name in names] * 150)
    sites = deal(records, Partition(by="dirichlet", num_sites=3, alpha=alpha, held_out=0.01))
    shares = np.array(
        [
            [
                sum(
                    record.findings == {name: "present"}
                    for record in records
                    if sites[record.patient] == site
                )
                for name in names
            ]
            for site in ("site-1", "site-2", "site-3")
        ]
    )
    assert low <= np.abs(shares / shares.sum(axis=1, keepdims=True) - 0.25).max() <= high
    assert (abs(shares.sum(axis=1) - 198) <= 1).all()


@given(
    views=st.lists(st.sampled_from(["PA", "AP", None]), min_size=8, max_size=60),
    by=st.sampled_from(["view", "random", "dirichlet"]),
    seed=st.integers(0, 99),
)
def test_every_patient_is_in_exactly_one_place_and_no_place_is_empty(
    views: list[str | None], by: str, seed: int
) -> None:
    records = patients(view=views, findings=[{"edema": "present"} if v else {} for v in views])
    partition = Partition(by=by, num_sites=1 if by == "view" else 3, seed=seed)
    sites = deal(records, partition)
    assert set(sites) == {record.patient for record in records}
    assert Counter(sites.values())[HELD_OUT] >= 1
    assert all(name == HELD_OUT or members(sites, name) for name in sites.values())
    assert deal(reversed(records), partition) == sites


def test_another_seed_deals_otherwise() -> None:
    records = patients(view=["PA"] * 50)
    assert deal(records, Partition(by="random")) != deal(records, Partition(by="random", seed=1))


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"by": "colour"}, "there is no way 'colour' to deal: give view, sex,"),
        ({"by": "view", "num_sites": 33}, "33 sites make no study"),
        ({"by": "finding"}, "give --finding NAME with --by finding"),
        ({"by": "view", "finding": "edema"}, "and only with it"),
        ({"by": "finding", "finding": "hair"}, "no finding 'hair': give one of atelectasis"),
        ({"by": "dirichlet", "alpha": 0.0}, "alpha must be greater than 0"),
        ({"by": "random", "held_out": 0.0}, "held-out too"),
    ],
)
def test_a_way_of_dealing_that_makes_no_sense_is_refused(
    choices: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(WrongPartition, match=complaint):
        Partition(**choices)


def test_fewer_values_than_hospitals_is_said_with_both_numbers() -> None:
    with pytest.raises(PartitionImpossible, match="to 3 sites by view: they fall into 2 groups"):
        deal(patients(view=["PA", "AP"] * 9), Partition(by="view", num_sites=3))
