"""How long a round waits for hospitals: absent, silent, restarted, or with people to ask first."""

import pytest
from flwr.app import Message

from federation.messages import Refusal, RefusalCode, Update
from federation.wire.rounds import unpack_instruction
from server.mailbox import SECONDS_TO_SPARE
from server.sites import Asked
from tests.toys.grid import (
    Clock,
    FakeGrid,
    Reply,
    answers,
    grid_of,
    one_after_the_other,
    refuses,
    silent,
    talk,
    trains,
)

pytestmark = pytest.mark.usefixtures("clock", "inside_a_flower_task")


def test_a_round_ends_as_soon_as_all_expected_hospitals_have_answered(clock: Clock) -> None:
    talk(grid_of(a=trains, b=refuses(RefusalCode.NO_CACHE)), min_sites=2)
    assert clock.offset == 0.0


def test_an_absent_hospital_is_neither_asked_nor_pulled_until_it_is_back(clock: Clock) -> None:
    grid = grid_of(a=trains, b=silent)
    clock.at(20.0, lambda: grid.online.remove("b"))
    clock.at(60.0, lambda: grid.behaviour.update(b=trains))
    clock.at(60.0, lambda: grid.online.add("b"))
    assert isinstance(answers(talk(grid))["b"], Update)
    assert grid.asked() == ["a", "b"]


def test_a_hospital_that_connects_late_is_asked_when_it_comes(clock: Clock) -> None:
    grid = grid_of(a=silent, b=trains)
    grid.online = {"a"}
    clock.at(50.0, lambda: grid.online.add("b"))
    clock.at(70.0, lambda: grid.behaviour.update(a=trains))
    assert answers(talk(grid)).keys() == {"a", "b"}
    assert grid.asked() == ["a", "b"]


def test_a_hospital_that_has_restarted_is_asked_again_and_its_old_answer_is_still_heard(
    clock: Clock,
) -> None:
    heard: list[str] = []

    def answers_the_second(message: Message) -> Message | None:
        heard.append(message.metadata.message_id)
        return trains(message) if grid.asked() == ["a", "a"] else None

    grid = grid_of(a=answers_the_second)
    clock.at(30.0, lambda: grid.activations.update(a="second"))
    events = talk(grid)
    assert grid.asked() == ["a", "a"]
    assert sum(isinstance(event, Asked) for event in events) == 2
    assert isinstance(answers(events)["a"], Update)
    assert clock.offset < 100.0


def test_a_connected_hospital_that_stays_silent_is_asked_again_after_half_an_hour() -> None:
    grid = grid_of(a=silent)
    talk(grid)
    assert grid.asked() == ["a", "a"]


def test_the_deadline_closes_a_round_without_quorum(clock: Clock) -> None:
    grid = grid_of(a=silent, b=trains, c=trains)
    grid.online = {"a", "b"}
    found = answers(talk(grid, min_sites=2))
    assert 3600.0 <= clock.offset <= 3620.0
    assert isinstance(found["b"], Update)
    assert found["a"] == Refusal(
        code=RefusalCode.NO_ANSWER, reason="no answer before the round was closed"
    )
    assert "c" not in found


def test_with_a_quorum_a_round_waits_for_absent_hospitals_no_longer_than_its_grace(
    clock: Clock,
) -> None:
    grid = grid_of(a=trains, b=trains, c=trains)
    grid.online = {"a", "b"}
    assert answers(talk(grid, min_sites=2)).keys() == {"a", "b"}
    assert 100.0 <= clock.offset <= 120.0


def test_with_a_quorum_a_round_still_waits_for_a_connected_hospital_that_trains(
    clock: Clock,
) -> None:
    grid = grid_of(a=trains, b=silent)
    clock.at(1000.0, lambda: grid.behaviour.update(b=trains))
    assert isinstance(answers(talk(grid))["b"], Update)


def test_refusals_are_no_quorum(clock: Clock) -> None:
    grid = grid_of(a=refuses(RefusalCode.NO_CACHE), b=trains, c=trains)
    grid.online = {"a", "b"}
    talk(grid, min_sites=2)
    assert clock.offset >= 3600.0


def test_a_message_lives_as_long_as_its_round_and_a_little_longer(clock: Clock) -> None:
    grid = grid_of(a=silent, b=trains)
    grid.online = {"a"}
    clock.at(1000.0, lambda: grid.online.add("b"))
    clock.at(1000.0, lambda: grid.behaviour.update(a=trains))
    talk(grid)
    first, second = (message.metadata.ttl for _, message in grid.sent)
    assert first == pytest.approx(3600.0 + SECONDS_TO_SPARE, abs=5.0)
    assert second == pytest.approx(2600.0 + SECONDS_TO_SPARE, abs=5.0)


def says(*codes: RefusalCode | None) -> Reply:
    """One after the other; None is an update."""
    replies = [trains if code is None else refuses(code) for code in codes]
    return one_after_the_other(*replies)


def contents(grid: FakeGrid, site: str) -> list[bool]:
    """Whether each message to a site carried the tensors."""
    sent = [message for name, message in grid.sent if name == site]
    return [unpack_instruction(each.content).weights.content is not None for each in sent]


def test_a_hospital_that_waits_for_approval_is_asked_again_and_then_counts() -> None:
    waits, lacks = RefusalCode.UNAPPROVED, RefusalCode.BASE_MISSING
    grid = grid_of(a=says(waits, waits, lacks, None))
    events = talk(grid)
    assert [type(event).__name__ for event in events] == [
        *("Asked", "NotNow", "Asked", "NotNow", "Asked", "Asked", "Answered")
    ]
    assert isinstance(answers(events)["a"], Update)
    assert contents(grid, "a") == [True, False, False, True]  # 32 MiB an hour would be felt
    assert [event.bytes_down > 0 for event in events if isinstance(event, Asked)] == [
        *(True, False, False, True)
    ]


def test_a_hospital_that_holds_the_weights_trains_at_once_when_it_is_let() -> None:
    grid = grid_of(a=says(RefusalCode.PAUSED, None))
    assert isinstance(answers(talk(grid))["a"], Update)


def test_the_deadline_does_not_run_while_the_quorum_waits_for_people(clock: Clock) -> None:
    grid = grid_of(a=refuses(RefusalCode.UNAPPROVED))
    clock.at(50_000.0, lambda: grid.behaviour.update(a=trains))
    assert isinstance(answers(talk(grid))["a"], Update)
    assert clock.offset >= 50_000.0
    assert len(grid.sent) < 1000  # about once a minute


def test_a_quorum_goes_on_without_a_hospital_that_waits_for_approval(clock: Clock) -> None:
    grid = grid_of(a=trains, b=refuses(RefusalCode.UNAPPROVED))
    found = answers(talk(grid))
    assert isinstance(found["a"], Update)
    assert isinstance(found["b"], Refusal)
    assert found["b"].code == RefusalCode.UNAPPROVED
    assert 100.0 <= clock.offset < 300.0


def test_a_hospital_that_was_let_but_trains_for_ever_misses_the_deadline(clock: Clock) -> None:
    grid = grid_of(a=one_after_the_other(refuses(RefusalCode.PAUSED), *[silent] * 2000))
    found = answers(talk(grid))["a"]
    assert isinstance(found, Refusal)
    assert found.code == RefusalCode.NO_ANSWER
    assert clock.offset < 3 * 3600.0
