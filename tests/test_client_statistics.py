"""Counting patients: what is counted once, what is withheld, what noise covers, and what is said twice."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

import client.statistics
from client.cache.records import Records
from client.config import SiteConfig, StatisticsPolicy
from client.dicom.rejection import Reason
from client.patient_counts import patients_by_value
from client.statistics import answer_counts, count, released_counts
from client.tally import Tally
from federation.messages import CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.statistics import FILES, layout, noise_scale
from federation.wire.counts import pack_counts
from model.conditioning import FINDINGS, Metadata, Schema

if TYPE_CHECKING:
    from client.cache.images import Images

PLAIN = StatisticsPolicy(share=True)
NOISY = StatisticsPolicy(share=True, epsilon=1.0)
EXACT = StatisticsPolicy(share=True, min_cell=1)
USUAL = Metadata(
    age=57.0, sex="F", view="PA", race="white", site=1, manufacturer=5, findings={"edema": "absent"}
)
REQUEST = CountsRequest(findings=FINDINGS)


def records_of(*patients: Metadata | Sequence[Metadata], held_out: int = 0) -> Records:
    """A hospital's records, patient after patient; the first few patients are held out."""
    of_each = [[one] if isinstance(one, Metadata) else list(one) for one in patients]
    keys = [key for key, found in enumerate(of_each) for _ in found]
    rows = [Schema().row(metadata) for found in of_each for metadata in found]
    return Records(
        images=cast("Images", None),
        rows=np.array(rows, np.float32).reshape(len(rows), -1),
        patients=np.array(keys, np.uint64) + np.uint64(2**63),
        held_out=np.array(keys) < held_out,
        findings=FINDINGS,
        tally=Tally(
            num_files=len(rows) + 15,
            num_usable=len(rows),
            refused={Reason.LATERAL: 12, Reason.OPTED_OUT: 3},
            num_patients=len(patients),
            num_held_out=held_out,
        ),
    )


def differing(one: dict[str, list[int]], two: dict[str, list[int]]) -> dict[str, int]:
    """Attribute -> sum of the differences of its counts."""
    return {
        name: sum(abs(a - b) for a, b in zip(one[name], two[name], strict=True)) for name in one
    }


def test_a_patient_counts_once_however_many_radiographs_it_has() -> None:
    table = patients_by_value(records_of([USUAL] * 7, USUAL))
    shape = layout(FINDINGS)
    assert table["view"][shape["view"].index("PA")] == 2
    assert all(sum(counts) <= 2 for counts in table.values())


def test_a_patient_has_the_first_value_that_is_known_of_it() -> None:
    unknown, lateral = replace(USUAL, view=None), replace(USUAL, view="LATERAL")
    assert patients_by_value(records_of([unknown, lateral, USUAL]))["view"] == [0, 0, 1, 0]


def test_values_are_counted_under_their_names() -> None:
    people = [
        replace(USUAL, age=age, sex="M", manufacturer=16, findings={"edema": "uncertain"})
        for age in (0.0, 9.99, 10.0, 89.9, 90.0, 150.0)
    ]
    found = count(records_of(*people, replace(USUAL, race=None, age=None), held_out=2), EXACT).table
    assert {age: number for age, number in found["age"].items() if number} == {
        "0-9": 2, "10-19": 1, "80-89": 1, "90+": 2,
    }  # fmt: skip
    assert found["sex"] == {"F": 1, "M": 6}
    assert found["race"] == {"asian": None, "black": None, "white": 6, "other": None}
    assert found["manufacturer"]["another"] == 6
    assert found["manufacturer"]["ge"] == 1
    assert found["edema"] == {"absent": 1, "present": None, "uncertain": 6, "not_mentioned": None}
    assert found["split"] == {"training": 5, "held_out": 2}
    assert found["fracture"] == dict.fromkeys(found["fracture"])


def test_one_patient_changes_one_count_of_each_attribute_by_one() -> None:
    others: list[Metadata | Sequence[Metadata]] = [
        USUAL,
        [USUAL, replace(USUAL, sex="M")],
        replace(USUAL, age=None),
    ]
    odd = Metadata(
        age=4.0, sex="M", view="LATERAL", race="black", site=2, manufacturer=1,
        findings=dict.fromkeys(FINDINGS, "present"),
    )  # fmt: skip
    many = [odd, USUAL, replace(odd, view="AP", sex="F")] * 50
    without, with_one = (patients_by_value(records_of(*rest)) for rest in (others, [*others, many]))
    assert set(differing(without, with_one).values()) == {1}
    changed = sum(differing(without, with_one).values()) + 1  # and the number of patients
    assert noise_scale(FINDINGS, 1.0) == changed


def test_a_rare_patient_leaves_the_table_as_it_is_without_it() -> None:
    crowd = [USUAL] * 204
    rare = Metadata(
        age=104.0, sex="M", view="OTHER", race="asian", site=1, manufacturer=15,
        findings={"pneumothorax": "present", "edema": "present"},
    )  # fmt: skip
    assert count(records_of(*crowd, rare, held_out=30), PLAIN).table == (
        count(records_of(*crowd, held_out=30), PLAIN).table
    )


def test_counts_without_noise_come_in_steps_and_small_ones_not_at_all() -> None:
    found = count(records_of(*[USUAL] * 33, *[replace(USUAL, sex="M")] * 9), PLAIN)
    assert (found.num_patients, found.num_files) == (40, 50)
    assert found.table["sex"] == {"F": None, "M": None}  # 30 of 40 would leave 1 at least
    assert found.table["view"] == {"PA": 40, "AP": None, "LATERAL": None, "OTHER": None}
    assert found.epsilon is None


def test_files_are_counted_by_reason_but_not_those_of_patients_who_opted_out() -> None:
    found = count(records_of(*[USUAL] * 40), EXACT).files
    assert {name: number for name, number in found.items() if number} == {
        "usable": 40,
        "lateral": 12,
    }
    assert "opted_out" not in found


def test_few_patients_give_nothing_however_many_files_they_have() -> None:
    found = count(records_of(*[[USUAL] * 30] * 9), PLAIN)
    assert (found.num_patients, found.num_files) == (None, None)
    assert found.files == dict.fromkeys(FILES)
    assert all(number is None for counts in found.table.values() for number in counts.values())


def test_noise_is_added_to_every_count_at_the_tables_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    scales = []

    def one_hundred(scale: object) -> int:
        scales.append(scale)
        return 100

    monkeypatch.setattr(client.statistics, "draw_discrete_laplace", one_hundred)
    found = count(records_of(*[USUAL] * 40), NOISY)
    assert found.num_patients == 140
    assert found.table["sex"] == {"F": 140, "M": 100}
    assert found.table["age"]["0-9"] == 100
    assert scales == [noise_scale(FINDINGS, 1.0)] * (1 + sum(map(len, layout(FINDINGS).values())))


def test_small_counts_are_withheld_after_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.statistics, "draw_discrete_laplace", lambda _: -31)
    found = count(records_of(*[USUAL] * 40, replace(USUAL, sex="M")), NOISY)
    assert found.num_patients == 10
    assert found.table["sex"] == {"F": None, "M": None}


def test_with_noise_nothing_is_said_of_files() -> None:
    found = count(records_of(*[USUAL] * 400), NOISY)
    assert (found.num_files, found.files, found.epsilon) == (None, dict.fromkeys(FILES), 1.0)


def test_fresh_noise_differs() -> None:
    records = records_of(*[USUAL] * 400)
    assert count(records, NOISY) != count(records, NOISY)


@pytest.fixture
def site(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path, num_records=60, statistics=NOISY)


def test_asked_again_a_hospital_gives_the_same_noise(site: SiteConfig) -> None:
    first = answer_counts(site, REQUEST)
    assert isinstance(first, SiteCounts)
    assert answer_counts(site, REQUEST) == first
    assert pack_counts(answer_counts(site, REQUEST), REQUEST) == pack_counts(first, REQUEST)


def test_asked_twice_at_once_a_hospital_gives_one_answer(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2)

    def count_together(records: Records, policy: StatisticsPolicy) -> SiteCounts:
        with suppress(threading.BrokenBarrierError):  # who counts alone waits in vain
            meeting.wait(0.3)
        return count(records, policy)

    monkeypatch.setattr(client.statistics, "count", count_together)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(answer_counts, [site] * 2, [REQUEST] * 2)
    assert one == two


def test_new_records_or_another_policy_make_a_new_table(site: SiteConfig) -> None:
    crowd = [USUAL] * 400
    tables = [
        released_counts(site, records_of(*crowd)),
        released_counts(site, records_of(*crowd, USUAL)),
        released_counts(site, records_of(*crowd, held_out=9)),
        released_counts(replace(site, statistics=replace(NOISY, epsilon=0.9)), records_of(*crowd)),
    ]
    kept = sorted((site.state_path / "statistics").glob("*.json"))
    assert len(kept) == 4
    assert len({str(table) for table in tables}) == 4


def test_what_noise_does_not_cover_draws_no_new_noise(site: SiteConfig) -> None:
    records = records_of(*[USUAL] * 400)
    more_files = replace(records, tally=replace(records.tally, num_files=999))
    assert released_counts(site, more_files) == released_counts(site, records)
    plain = replace(site, statistics=PLAIN)
    assert released_counts(plain, more_files).num_files == 990
    assert released_counts(plain, records).num_files == 410


def test_what_is_kept_is_what_left(site: SiteConfig) -> None:
    answer = answer_counts(site, REQUEST)
    (path,) = (site.state_path / "statistics").glob("*.json")
    assert SiteCounts(**json.loads(path.read_text())) == answer
    assert path.stat().st_mode & 0o077 == 0


def test_a_hospital_that_does_not_share_says_so_and_opens_nothing(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.statistics, "open_site_cache", None)
    answer = answer_counts(make_hospital(memory_path), REQUEST)
    assert answer == Refusal(
        code=RefusalCode.STATISTICS, reason="the hospital does not share counts before a study"
    )
    assert not (memory_path / "a" / "statistics").exists()


def test_a_cache_with_other_findings_is_not_counted(site: SiteConfig) -> None:
    answer = answer_counts(site, CountsRequest(findings=FINDINGS[1:]))
    assert isinstance(answer, Refusal)
    assert answer.code == RefusalCode.CACHE
    assert "sets findings and types `fedcxr hospital ingest`" in answer.reason


def test_a_hospital_without_a_cache_says_whose_job_that_is(site: SiteConfig) -> None:
    (site.state_path / "cache" / "current").unlink()
    answer = answer_counts(site, REQUEST)
    assert isinstance(answer, Refusal)
    assert answer.code == RefusalCode.NO_CACHE
