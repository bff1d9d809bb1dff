"""The conversation with hospitals over Flower's grid, with a grid and a clock that the test moves."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Message, RecordDict

from federation.config import study_digest
from federation.log_witness import sign_head
from federation.messages import Answer, Refusal, RefusalCode, Update
from federation.plan import SignedPlan
from federation.signing import public_pem
from federation.wire.rounds import pack_answer, unpack_instruction
from privacy.ledger.chain import Head
from server.blobs.builtin import BuiltinStore
from server.blobs.traffic import Traffic, traffic_path
from server.deliveries import box_prefix
from server.evidence.witnesses import witnesses_of
from server.hospitals import shelf_prefix
from server.sites import LASTING, Answered, Asked
from tests.toys.grid import (
    FULL,
    LORA,
    UPDATE,
    FakeGrid,
    Reply,
    answers,
    dies,
    grid_of,
    hospitals_of,
    listen,
    one_after_the_other,
    refuses,
    talk,
    trains,
)

pytestmark = pytest.mark.usefixtures("clock", "inside_a_flower_task")


def test_every_connected_hospital_is_asked_once_and_heard() -> None:
    grid = grid_of(a=trains, b=trains)
    events = talk(grid)
    assert grid.asked() == ["a", "b"]
    assert [event.bytes_down for event in events if isinstance(event, Asked)] == [16, 16]
    assert all(isinstance(answer, Update) for answer in answers(events).values())


def test_what_a_hospital_fetches_and_leaves_beside_messages_is_told_round_by_round(
    memory_path: Path,
) -> None:
    traffic = Traffic(traffic_path(memory_path))

    def fetches(message: Message) -> Message:
        for space, num_bytes in ((f"{now}x", 500), (f"{for_good}x", 30), (f"{other}x", 7)):
            traffic.note(space, "a", num_bytes)
        return trains(message)

    grid = grid_of(a=fetches)
    hospitals = replace(hospitals_of(grid, 1), blobs=BuiltinStore(memory_path))
    digest = study_digest(hospitals.study)
    now, other, for_good = (shelf_prefix(digest, number) for number in (1, 2, LASTING))
    traffic.note(f"{for_good}x", "a", 9000)  # in a round before
    events = listen(hospitals, FULL)
    assert [event.bytes_down for event in events if isinstance(event, Answered)] == [530]
    traffic.note(f"{box_prefix(digest, 1)}a.x", "a", 70)
    assert (hospitals.num_left("a", number=1), hospitals.num_left("a", number=2)) == (70, 0)


def test_every_hospital_is_told_its_own_number_and_no_others() -> None:
    grid = grid_of(a=trains, b=trains, c=trains)
    listen(hospitals_of(grid, 3, numbers={"b": 1, "a": 2}), FULL)
    told = {site: unpack_instruction(message.content) for site, message in grid.sent}
    assert {site: told[site].site_number for site in told} == {"a": 2, "b": 1, "c": None}


def test_where_a_hospitals_log_stands_is_witnessed_whatever_it_answers_and_goes_back_to_it_alone(
    tmp_path: Path,
) -> None:
    def says(answer: Answer, site: str) -> Reply:
        head = Head(count=len(site), digest=site[0] * 64)
        told = replace(answer, log=sign_head(head, keys[site], site_name=site))
        return lambda message: Message(pack_answer(told), reply_to=message)

    keys = {site: Ed25519PrivateKey.generate() for site in ("a", "bb", "ccc")}
    refusal = Refusal(code=RefusalCode.NO_CACHE, reason="words")
    grid = grid_of(a=says(UPDATE, "a"), bb=says(refusal, "bb"), ccc=says(UPDATE, "ccc"), d=trains)
    hospitals = hospitals_of(grid, 4)
    hospitals.witnesses = witnesses_of(tmp_path)
    public = {
        "a": public_pem(keys["a"]),
        "bb": public_pem(keys["bb"]),
        "ccc": public_pem(keys["a"]),
    }
    hospitals.signer = public.get
    for _ in range(2):
        listen(hospitals, FULL)
    seen = {site: unpack_instruction(message.content).log_witness for site, message in grid.sent}
    assert {site: each and each.head.count for site, each in seen.items()} == {
        "a": 1,
        "bb": 2,
        "ccc": None,  # signed by somebody else
        "d": None,
    }
    assert [each.round_number for each in hospitals.witnesses.of("a")] == [1]


def test_a_hospital_whose_training_dies_is_asked_once_more_and_then_left_out() -> None:
    grid = grid_of(a=dies, b=trains)
    refusal = answers(talk(grid))["a"]
    assert isinstance(refusal, Refusal)
    assert refusal.code == RefusalCode.NO_ANSWER
    assert "its process ended without an answer" in refusal.reason
    assert "DOE" not in refusal.reason
    assert grid.asked() == ["a", "b", "a"]


def test_a_hospital_whose_training_dies_once_still_counts() -> None:
    grid = grid_of(a=one_after_the_other(dies, trains))
    assert isinstance(answers(talk(grid))["a"], Update)


def test_a_reply_that_cannot_be_read_is_a_refusal_in_words() -> None:
    grid = grid_of(a=lambda message: Message(RecordDict(), reply_to=message), b=trains)
    found = answers(talk(grid))["a"]
    assert isinstance(found, Refusal)
    assert (found.code, found.reason) == (
        RefusalCode.UNREADABLE,
        "the message cannot be read: header is missing or malformed",
    )


def test_a_reply_in_another_protocol_is_a_refusal_that_says_what_to_do() -> None:
    def other_release(message: Message) -> Message:
        return Message(RecordDict({"header": ConfigRecord({"protocol": 999})}), reply_to=message)

    found = answers(talk(grid_of(a=other_release, b=trains)))["a"]
    assert isinstance(found, Refusal)
    assert found.code == RefusalCode.PROTOCOL
    assert "install the same release" in found.reason


def carries_base(grid: FakeGrid) -> list[bool]:
    """For every message sent, whether the frozen model was in it."""
    told = [unpack_instruction(message.content) for _, message in grid.sent]
    return [each.base is not None and each.base.content is not None for each in told]


def test_the_frozen_model_is_sent_until_a_hospital_has_answered_and_then_no_more() -> None:
    grid = grid_of(a=trains)
    hospitals = hospitals_of(grid, 1)
    bytes_down = [
        event.bytes_down
        for _ in range(3)
        for event in listen(hospitals, LORA)
        if isinstance(event, Asked)
    ]
    assert carries_base(grid) == [True, False, False]
    assert bytes_down == [416, 16, 16]


def test_a_hospital_that_refused_is_sent_the_frozen_model_again() -> None:
    grid = grid_of(a=one_after_the_other(refuses(RefusalCode.NO_CACHE), trains))
    hospitals = hospitals_of(grid, 1)
    for _ in range(2):
        listen(hospitals, LORA)
    assert carries_base(grid) == [True, True]


def test_a_hospital_that_has_lost_the_frozen_model_gets_it_in_the_same_round() -> None:
    grid = grid_of(a=one_after_the_other(trains, refuses(RefusalCode.BASE_MISSING), trains))
    hospitals = hospitals_of(grid, 1)
    listen(hospitals, LORA)
    assert isinstance(answers(listen(hospitals, LORA))["a"], Update)
    assert carries_base(grid) == [True, False, True]


def test_a_hospital_that_misses_the_frozen_model_in_hand_is_left_out() -> None:
    grid = grid_of(a=refuses(RefusalCode.BASE_MISSING), b=trains)
    found = answers(talk(grid, LORA))["a"]
    assert isinstance(found, Refusal)
    assert found.code == RefusalCode.BASE_MISSING
    assert grid.asked() == ["a", "b"]


def test_a_node_without_a_name_is_asked_for_it_once() -> None:
    questions: list[str] = []

    def query(message: Message) -> Message:
        questions.append(message.metadata.message_type)
        return Message(RecordDict({"site": ConfigRecord({"name": "a"})}), reply_to=message)

    grid = FakeGrid(behaviour={"": trains, "query": query}, online={""})
    hospitals = hospitals_of(grid, 1)
    for _ in range(2):
        assert answers(listen(hospitals, FULL)).keys() == {"a"}
    assert questions == ["query.name"]


def test_the_signed_plan_travels_with_every_instruction() -> None:
    plan = SignedPlan(text="{}", signature=b"\x01\x02")
    grid = grid_of(a=trains, b=trains)
    hospitals = hospitals_of(grid, 2)
    hospitals.plan = plan
    listen(hospitals, FULL)
    assert [unpack_instruction(each.content).plan for _, each in grid.sent] == [plan, plan]
