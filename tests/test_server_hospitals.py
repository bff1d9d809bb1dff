"""The conversation with hospitals over Flower's grid, with a grid and a clock that the test moves."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from federation.config import ModelChoice, RoundRules, StudyConfig, study_digest
from federation.log_witness import sign_head
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.plan import SignedPlan
from federation.shipment import inline_shipment
from federation.signing import public_pem
from federation.stages import FullStage, LocalTraining
from federation.wire.rounds import pack_answer, unpack_instruction
from privacy.ledger.chain import Head
from server.blobs.builtin import BuiltinStore
from server.blobs.traffic import Traffic, traffic_path
from server.countersign import Countersign
from server.deliveries import box_prefix
from server.evidence.witnesses import witnesses_of
from server.hospitals import Hospitals, shelf_prefix
from server.mailbox import SECONDS_TO_SPARE
from server.rounds import LASTING, Answered, Asked, Event
from server.store import StudyStore

WEIGHTS = inline_shipment({"w": np.ones(4, np.float32)})
BASE = inline_shipment({"b": np.ones(100, np.float32)})
NO_NUMBERS: Mapping[str, int] = {}
FULL = Instruction(study="{}", round_number=1, weights=WEIGHTS)
LORA = Instruction(study="{}", round_number=1, weights=WEIGHTS, base=BASE)
UPDATE = Update(
    study_digest="5" * 64,
    round_number=1,
    received_digest=WEIGHTS.digest,
    change=WEIGHTS.parcel,
    content=WEIGHTS.content,
    norm=2.0,
    num_steps=1,
    loss=0.5,
    held_out_loss=0.5,
    seconds=1.0,
    num_records=0,
    num_files=0,
)
Reply = Callable[[Message], Message | None]


def trains(message: Message) -> Message:
    return Message(pack_answer(UPDATE), reply_to=message)


def refuses(code: RefusalCode) -> Reply:
    return lambda message: Message(
        pack_answer(Refusal(code=code, reason="words")), reply_to=message
    )


def dies(message: Message) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_CRASHED, reason="DOE^JANE"), reply_to=message)


def one_after_the_other(*replies: Reply) -> Reply:
    """First this, then that."""
    left = list(replies)

    def reply(message: Message) -> Message | None:
        return left.pop(0)(message)

    return reply


def silent(_: Message) -> None:
    return None


@dataclass
class FakeGrid:
    """Hospitals as functions; counts what is asked of whom, and refuses what Flower would punish."""

    behaviour: dict[str, Reply]
    online: set[str]
    activations: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[str, Message]] = field(default_factory=list)
    pulled: set[str] = field(default_factory=set)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Connected nodes."""
        return [
            NodeInfo(
                node_id=node_id, name=site, last_activated_at=self.activations.get(site, "first")
            )
            for node_id, site in enumerate(self.behaviour, start=1)
            if site in self.online
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Numbers of the messages, which are on their way now."""
        for message in messages:
            site = list(self.behaviour)[message.metadata.dst_node_id - 1]
            assert site in self.online, "Flower loses what is sent to an absent node"
            self.sent.append((site, message))
            yield str(len(self.sent) - 1)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The reply to one message, if there is one."""
        (message_id,) = message_ids
        site, message = self.sent[int(message_id)]
        assert site in self.online, "Flower gives up the reply of an absent node"
        assert message_id not in self.pulled, "Flower has forgotten this message"
        reply = self.behaviour[site](message)
        if reply is None:
            return []
        self.pulled.add(message_id)
        return [reply]

    def asked(self) -> list[str]:
        """Sites in the order in which they were asked."""
        return [site for site, _ in self.sent]

    def send_and_receive(self, messages: Iterable[Message]) -> Iterable[Message]:
        """Answers to questions of the simulation engine."""
        return [self.behaviour["query"](message) for message in messages]  # type: ignore[misc]


@dataclass
class Clock:
    """Time that passes only while somebody sleeps; things can be told to happen at a moment."""

    offset: float = 0.0
    events: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self.offset

    def sleep(self, _: float) -> None:
        """Ten seconds later."""
        self.offset += 10.0
        for event in [event for event in self.events if event[0] <= self.offset]:
            self.events.remove(event)
            event[1]()

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen."""
        self.events.append((seconds, action))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    moved = SimpleNamespace(monotonic=fake.monotonic, sleep=fake.sleep)
    monkeypatch.setattr("server.asking.time", moved)
    monkeypatch.setattr("server.mailbox.time", moved)
    return fake


@pytest.fixture(autouse=True)
def inside_a_flower_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower stamps messages with the identity of the running task."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def rules(num_sites: int, min_sites: int) -> RoundRules:
    return RoundRules(
        num_sites=num_sites, min_sites=min_sites, deadline_seconds=3600.0, grace_seconds=100.0
    )


def study_with(rules: RoundRules) -> StudyConfig:
    """A study of one round."""
    local = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
    return StudyConfig(
        name="toy",
        seed=1,
        model=ModelChoice(size="tiny", image_size=16),
        rounds=rules,
        stages=(FullStage(kind="full", num_rounds=1, local=local),),
    )


def hospitals_of(
    grid: FakeGrid, num_sites: int, *, min_sites: int = 1, numbers: Mapping[str, int] = NO_NUMBERS
) -> Hospitals:
    nothing_seen = cast("StudyStore", SimpleNamespace(witnessed=lambda site: None))
    return Hospitals(
        grid=cast("Grid", grid),
        study=study_with(rules(num_sites, min_sites)),
        number_site=numbers.get,
        countersign=Countersign(store=nothing_seen, key=Ed25519PrivateKey.generate()),
    )


def talk(grid: FakeGrid, instruction: Instruction = FULL, *, min_sites: int = 1) -> list[Event]:
    hospitals = hospitals_of(grid, len(grid.behaviour), min_sites=min_sites)
    return listen(hospitals, instruction)


def listen(hospitals: Hospitals, instruction: Instruction) -> list[Event]:
    """Everything that happens; every update counts."""
    events: list[Event] = []

    def num_admitted() -> int:
        return sum(isinstance(answer, Update) for answer in answers(events).values())

    for event in hospitals.ask(instruction, num_admitted):
        events.append(event)  # noqa: PERF402  counted while they come
    return events


def answers(events: Iterable[Event]) -> dict[str, Update | Refusal]:
    return {event.site: event.answer for event in events if isinstance(event, Answered)}


def grid_of(**behaviour: Reply) -> FakeGrid:
    return FakeGrid(behaviour=behaviour, online=set(behaviour))


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


def test_a_round_ends_when_all_expected_hospitals_have_answered(clock: Clock) -> None:
    talk(grid_of(a=trains, b=refuses(RefusalCode.NO_CACHE)), min_sites=2)
    assert clock.offset == 10.0


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
    assert clock.offset > 50_000.0
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


def test_the_signed_plan_travels_with_every_instruction() -> None:
    plan = SignedPlan(text="{}", signature=b"\x01\x02")
    grid = grid_of(a=trains, b=trains)
    hospitals = hospitals_of(grid, 2)
    hospitals.plan = plan
    listen(hospitals, FULL)
    assert [unpack_instruction(each.content).plan for _, each in grid.sent] == [plan, plan]
