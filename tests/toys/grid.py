"""Flower's grid with hospitals that are functions, a clock, and the coordinator's conversation with them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from federation.config import ModelChoice, RoundRules, StudyConfig
from federation.messages import Instruction, Refusal, RefusalCode, Update
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from federation.wire.rounds import pack_answer
from server.countersign import Countersign
from server.hospitals import Hospitals
from server.sites import Answered, Event
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
