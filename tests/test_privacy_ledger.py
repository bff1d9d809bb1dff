"""The ledger: charged before it is spent, for life, once per release, and never beyond the cap."""

import math
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounting.epsilon import ADJACENCY, epsilon
from privacy.accounting.phase import Phase
from privacy.ledger.book import LedgerUnreadable, OtherLedger, read_book
from privacy.ledger.chain import Chain, read_chain
from privacy.ledger.chain_writer import open_chain
from privacy.ledger.ledger import (
    AlreadyReleased,
    BudgetExhausted,
    Ledger,
    NotReserved,
    open_ledger,
    round_key,
)
from privacy.ledger.verification import problems_of, read_statement

STUDY, OTHER_STUDY = "ab" * 32, "cd" * 32
PHASE = Phase(noise_multiplier=1.0, sample_rate=0.02, num_steps=50)
ONE, TWO = round_key(STUDY, 1), round_key(STUDY, 2)
UPDATE, OTHER_UPDATE = "1" * 64, "2" * 64


def opened(
    path: Path, *, cap: float = 8.0, data_set: str = "archive", delta: float = 1e-5
) -> Ledger:
    """What the ledger of a file says right after it was opened; nothing can be added to it."""
    with open_ledger(path, data_set=data_set, delta=delta, cap=cap) as ledger:
        return ledger


@pytest.fixture
def path(memory_path: Path) -> Path:
    """Where the ledger is."""
    return memory_path / "archive.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A new one, open."""
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as new:
        yield new


def test_a_new_ledger_has_spent_nothing_and_says_what_epsilon_will_mean(
    ledger: Ledger, path: Path
) -> None:
    assert (ledger.spent(), ledger.cap, ledger.state_of(ONE)) == (0.0, 8.0, None)
    (record,) = read_chain(path).records
    assert (record["kind"], record["adjacency"], record["delta"]) == ("open", ADJACENCY, 1e-5)


def test_two_new_ledgers_never_have_the_same_head(tmp_path: Path) -> None:
    assert opened(tmp_path / "one").head != opened(tmp_path / "two").head


def test_a_charge_is_on_the_disk_before_the_reservation_returns(ledger: Ledger, path: Path) -> None:
    spent = ledger.reserve(ONE, PHASE, study_digest=STUDY)
    record = read_chain(path).records[-1]
    assert record == {
        "kind": "reserve",
        "key": ONE,
        "study": STUDY,
        "noise_multiplier": 1.0,
        "sample_rate": 0.02,
        "num_steps": 50,
        "spent": spent,
        "time": record["time"],
    }
    assert spent == ledger.spent() == epsilon([PHASE], 1e-5).value > 0.5


def test_rounds_are_composed_and_never_added_up_or_begun_anew(ledger: Ledger, path: Path) -> None:
    for number in range(1, 4):
        ledger.reserve(round_key(STUDY, number), PHASE, study_digest=STUDY)
    ledger.reserve(round_key(OTHER_STUDY, 1), PHASE, study_digest=OTHER_STUDY)
    together = epsilon([PHASE] * 4, 1e-5).value
    assert ledger.spent() == together
    assert epsilon([PHASE], 1e-5).value < together < 4 * epsilon([PHASE], 1e-5).value
    statement = read_statement(path)
    assert statement.book is not None
    assert statement.book.spent == together


def test_a_crash_keeps_the_charge_and_the_same_round_is_not_charged_again(path: Path) -> None:
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as before:
        spent = before.reserve(ONE, PHASE, study_digest=STUDY)
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as after:
        assert (after.spent(), after.state_of(ONE)) == (spent, "reserved")
        assert after.reserve(ONE, PHASE, study_digest=STUDY) == spent
        after.settle(ONE, num_steps=50, released=UPDATE)
        assert (after.spent(), after.head.count) == (spent, 3)


def test_a_round_that_was_released_is_never_computed_again(ledger: Ledger) -> None:
    ledger.reserve(ONE, PHASE, study_digest=STUDY)
    ledger.settle(ONE, num_steps=50, released=UPDATE)
    assert ledger.state_of(ONE) == "settled"
    with pytest.raises(AlreadyReleased, match="round 00001 was already answered"):
        ledger.reserve(ONE, PHASE, study_digest=STUDY)
    assert ledger.head.count == 3


def test_a_finished_update_may_leave_again_and_no_other_one_may(ledger: Ledger) -> None:
    ledger.reserve(ONE, PHASE, study_digest=STUDY)
    head = ledger.settle(ONE, num_steps=50, released=UPDATE)
    assert ledger.settle(ONE, num_steps=50, released=UPDATE) == head
    with pytest.raises(AlreadyReleased):
        ledger.settle(ONE, num_steps=50, released=OTHER_UPDATE)
    assert ledger.head == head


def test_nothing_leaves_that_was_not_charged_or_took_more_steps(ledger: Ledger) -> None:
    with pytest.raises(NotReserved, match="is not charged"):
        ledger.settle(ONE, num_steps=50, released=UPDATE)
    ledger.reserve(ONE, PHASE, study_digest=STUDY)
    with pytest.raises(NotReserved, match="fewer steps than were made"):
        ledger.settle(ONE, num_steps=51, released=UPDATE)
    other = Phase(noise_multiplier=1.0, sample_rate=0.02, num_steps=51)
    with pytest.raises(NotReserved, match="charged for something else"):
        ledger.reserve(ONE, other, study_digest=STUDY)
    assert ledger.state_of(ONE) == "reserved"


def test_fewer_steps_than_reserved_cost_the_same(ledger: Ledger) -> None:
    spent = ledger.reserve(ONE, PHASE, study_digest=STUDY)
    ledger.settle(ONE, num_steps=1, released=UPDATE)
    assert ledger.spent() == spent


def test_a_round_beyond_the_cap_is_refused_and_charges_nothing(path: Path) -> None:
    cap = epsilon([PHASE] * 2, 1e-5).value
    with open_ledger(path, data_set="archive", delta=1e-5, cap=cap) as ledger:
        ledger.reserve(ONE, PHASE, study_digest=STUDY)
        ledger.reserve(TWO, PHASE, study_digest=STUDY)  # exactly the cap
        head = ledger.head
        with pytest.raises(BudgetExhausted) as refused:
            ledger.reserve(round_key(STUDY, 3), PHASE, study_digest=STUDY)
        assert (ledger.head, ledger.spent()) == (head, cap)
    sentence = str(refused.value)
    assert f"epsilon is {cap:.2f}" in sentence
    assert "delta 1e-05" in sentence
    assert ADJACENCY in sentence
    assert refused.value.projected > cap


def test_what_nobody_can_account_for_is_refused(ledger: Ledger) -> None:
    hopeless = Phase(noise_multiplier=1e-3, sample_rate=1.0, num_steps=10**9)
    with pytest.raises(BudgetExhausted):
        ledger.reserve(ONE, hopeless, study_digest=STUDY)
    assert ledger.spent() == 0.0


def test_an_epsilon_without_delta_is_added_to_that_of_the_steps(ledger: Ledger) -> None:
    steps = ledger.reserve(ONE, PHASE, study_digest=STUDY)
    assert ledger.charge("counts/1", 0.5) == pytest.approx(steps + 0.5)
    assert ledger.charge("counts/1", 0.5) == pytest.approx(steps + 0.5)  # still the same
    ledger.settle("counts/1", num_steps=0, released=UPDATE)
    with pytest.raises(AlreadyReleased):
        ledger.charge("counts/1", 0.5)
    with pytest.raises(BudgetExhausted):
        ledger.charge("counts/2", 8.0 - steps - 0.49)
    assert ledger.charge("counts/2", 8.0 - steps - 0.51) <= 8.0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_that_is_none_is_no_charge(ledger: Ledger, bad: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        ledger.charge("counts/1", bad)


def test_the_cap_falls_and_never_rises_again(path: Path) -> None:
    assert [opened(path, cap=cap).cap for cap in (8.0, 20.0, 3.0, 8.0, 3.0)] == [8, 8, 3, 3, 3]
    assert [record["kind"] for record in read_chain(path).records] == ["open", "cap"]


def test_a_cap_below_what_is_spent_stops_also_what_is_reserved(path: Path) -> None:
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as ledger:
        ledger.reserve(ONE, PHASE, study_digest=STUDY)
    with open_ledger(path, data_set="archive", delta=1e-5, cap=0.1) as lowered:
        with pytest.raises(BudgetExhausted):
            lowered.reserve(ONE, PHASE, study_digest=STUDY)
        assert lowered.spent() > 0.1


@pytest.mark.parametrize("asked", [{"data_set": "other"}, {"delta": 1e-6}])
def test_a_ledger_serves_the_data_set_and_the_delta_it_was_begun_for(
    path: Path, asked: dict[str, str | float]
) -> None:
    opened(path)
    before = path.read_bytes()
    with pytest.raises(OtherLedger, match="corrects the policy") as refused:
        opened(path, cap=1.0, **asked)  # type: ignore[arg-type]
    assert str(next(iter(asked.values()))) in str(refused.value)
    assert path.read_bytes() == before
    (problem,) = problems_of(path, **{"data_set": "archive", "delta": 1e-5, **asked})  # type: ignore[arg-type]
    assert problem == str(refused.value)


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "refund", "key": ONE},
        {"kind": "open", "format": 2},
        {"kind": "settle", "key": TWO, "num_steps": 1, "released": UPDATE},
        {"kind": "settle", "key": ONE, "num_steps": 1, "released": UPDATE},
        {"kind": "reserve", "key": TWO, "study": STUDY, "spent": 0.1, "time": 1},
        {"kind": "charge", "key": TWO, "study": "", "spent": 0.1, "time": 1, "epsilon": -3.0},
        {"kind": "charge", "key": ONE, "study": "", "spent": 0.1, "time": 1, "epsilon": 0.1},
        {"kind": "cap", "cap": True},
        {},
    ],
)
def test_records_that_no_ledger_of_this_release_holds_stop_everything(
    path: Path, record: dict[str, object]
) -> None:
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as ledger:
        ledger.reserve(ONE, PHASE, study_digest=STUDY)
        ledger.settle(ONE, num_steps=50, released=UPDATE)
    with open_chain(path) as forger:
        forger.append(record)
    with pytest.raises(LedgerUnreadable, match="record 4 of"):
        opened(path)
    assert len(problems_of(path, data_set="archive", delta=1e-5)) == 1


def test_a_chain_that_does_not_begin_as_a_ledger_is_none(path: Path) -> None:
    with open_chain(path) as other:
        other.append({"kind": "receipt"})
    with pytest.raises(LedgerUnreadable):
        opened(path)
    assert read_book(Chain(), path) is None


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "charge", "cap", "reopen"]), st.integers(1, 3)),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_whatever_happens_epsilon_never_falls_nor_passes_the_cap_of_its_time(
    memory_path: Path, actions: list[tuple[str, int]]
) -> None:
    path = memory_path / secrets.token_hex(8)
    spent, cap = 0.0, 3.0
    for action, number in actions:
        key = round_key(STUDY, number)
        if action == "cap":
            cap = min(cap, float(number))
        with open_ledger(path, data_set="archive", delta=1e-5, cap=cap) as ledger:
            before = ledger.spent()
            try:
                if action == "reserve":
                    ledger.reserve(key, PHASE, study_digest=STUDY)
                elif action == "charge":
                    ledger.charge(f"counts/{number}", 0.4)
                elif action == "settle":
                    ledger.settle(key, num_steps=50, released=UPDATE)
            except (BudgetExhausted, AlreadyReleased, NotReserved):
                assert ledger.spent() == before
            assert ledger.spent() >= spent
            assert ledger.spent() <= max(spent, ledger.cap)
            spent = ledger.spent()
    assert problems_of(path, data_set="archive", delta=1e-5) == ()


def test_nothing_in_a_ledger_is_about_patients(ledger: Ledger, path: Path) -> None:
    ledger.reserve(ONE, PHASE, study_digest=STUDY)
    ledger.settle(ONE, num_steps=50, released=UPDATE)
    ledger.charge("counts/1", 0.5)
    names = set(re.findall(rb'"([a-z_]+)":', path.read_bytes()))
    assert names == {
        *(b"adjacency", b"cap", b"data_set", b"delta", b"digest", b"epsilon", b"format", b"key"),
        *(b"kind", b"ledger", b"noise_multiplier", b"num_steps", b"number", b"record"),
        *(b"released", b"sample_rate", b"spent", b"study", b"time"),
    }
