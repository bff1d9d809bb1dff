"""Asking hospitals over Flower's grid: who is connected, what was sent, what came back.

Replies are pulled one at a time and only from hospitals that are connected: pulling from an absent one makes
Flower give up its reply for good. A hospital that came back after a restart is asked again, because
Flower's message died with its SuperNode; it answers from disk if it had finished.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from federation.config import RoundRules
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.wire import ProtocolMismatch, Unreadable, pack_instruction, unpack_answer
from server.rounds import Answered, Asked, Event

POLL_SECONDS = 0.3
ASK_AGAIN_SECONDS = 1800.0
"""A connected hospital that is silent this long is asked again."""
MAX_DEATHS = 2
"""Training processes a hospital may lose in one round before the round goes on without it."""
SECONDS_TO_SPARE = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One connected hospital, as Flower sees it."""

    site: str
    node_id: int
    activation: str
    """Changes whenever the hospital's SuperNode starts anew."""


@dataclass(kw_only=True, slots=True)
class Waiting:
    """An instruction that a hospital has not answered yet."""

    node: Node
    message_ids: list[str]
    asked: float


@dataclass(kw_only=True, slots=True)
class Conversation:
    """One round's state: who has been asked, who is settled."""

    instruction: Instruction
    waiting: dict[str, Waiting] = field(default_factory=dict)
    settled: dict[str, Answer] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    busy: float = field(default_factory=time.monotonic)
    """When the round last had a reason to stay open besides absent hospitals."""


@dataclass(kw_only=True, slots=True)
class Hospitals:
    """Every connected hospital, behind one function: `ask`."""

    grid: Grid
    rules: RoundRules
    holders: set[tuple[str, str]] = field(default_factory=set)
    """(site, digest) of frozen models that a site is known to hold."""
    names: dict[int, str] = field(default_factory=dict)
    """Names of nodes that Flower knows no name for (simulation engine)."""

    def ask(self, instruction: Instruction) -> Iterator[Event]:
        """Send one instruction to all; yield what happens until all are settled or time is up."""
        talk = Conversation(instruction=instruction)
        while not self._is_over(talk):
            online = self._online()
            for site in sorted(online.keys() - talk.settled.keys()):
                if _is_due(talk.waiting.get(site), online[site]):
                    yield self._send(talk, online[site])
            for site in sorted(talk.waiting.keys() & online.keys()):
                answer = self._hear(talk, site)
                if answer is not None:
                    talk.settled[site] = answer
                    del talk.waiting[site]
                    yield Answered(site=site, answer=answer)
            if talk.waiting.keys() & online.keys() or not self._has_quorum(talk):
                talk.busy = time.monotonic()
            time.sleep(POLL_SECONDS)
        for site in sorted(talk.waiting):
            reason = "no answer before the round was closed"
            yield Answered(site=site, answer=Refusal(code=RefusalCode.NO_ANSWER, reason=reason))

    def _is_over(self, talk: Conversation) -> bool:
        now = time.monotonic()
        return (
            (len(talk.settled) >= self.rules.num_sites and not talk.waiting)
            or now - talk.started > self.rules.deadline_seconds
            or now - talk.busy > self.rules.grace_seconds
        )

    def _has_quorum(self, talk: Conversation) -> bool:
        updates = [answer for answer in talk.settled.values() if isinstance(answer, Update)]
        return len(updates) >= self.rules.min_sites

    def _online(self) -> dict[str, Node]:
        """Connected hospitals by name."""
        nodes = {}
        infos = sorted(self.grid.get_nodes(), key=lambda info: info.last_activated_at or "")
        for info in infos:  # of two nodes under one name, the one that came last
            site = info.name or self._ask_name(info.node_id)
            nodes[site] = Node(
                site=site, node_id=info.node_id, activation=info.last_activated_at or ""
            )
        return nodes

    def _send(self, talk: Conversation, node: Node) -> Asked:
        """Push the instruction to one hospital; the frozen model only if it may not hold it."""
        instruction = talk.instruction
        if (node.site, instruction.base_digest) in self.holders:
            instruction = replace(instruction, base=None)
        left = self.rules.deadline_seconds - (time.monotonic() - talk.started)
        message = Message(
            pack_instruction(instruction), node.node_id, "train", ttl=left + SECONDS_TO_SPARE
        )
        ids = list(self.grid.push_messages([message]))
        earlier = talk.waiting[node.site].message_ids if node.site in talk.waiting else []
        talk.waiting[node.site] = Waiting(
            node=node, message_ids=[*earlier, *ids], asked=time.monotonic()
        )
        sizes = [
            tensor.nbytes
            for part in (instruction.weights, instruction.base or {})
            for tensor in part.values()
        ]
        return Asked(site=node.site, bytes_down=sum(sizes))

    def _hear(self, talk: Conversation, site: str) -> Answer | None:
        """A hospital's answer, if one has come."""
        waiting = talk.waiting[site]
        for message_id in list(waiting.message_ids):
            for reply in self.grid.pull_messages([message_id]):
                waiting.message_ids.remove(message_id)
                answer = self._read(talk, site, reply)
                if answer is not None:
                    return answer
        if not waiting.message_ids:
            del talk.waiting[site]  # asked again at the next look
        return None

    def _read(self, talk: Conversation, site: str, reply: Message) -> Answer | None:
        """The answer in a reply; None if the hospital has to be asked again."""
        if reply.has_error():
            talk.deaths[site] = talk.deaths.get(site, 0) + 1
            if talk.deaths[site] < MAX_DEATHS:
                return None
            reason = (
                f"its training process ended without an answer (Flower code {reply.error.code})"
            )
            return Refusal(code=RefusalCode.NO_ANSWER, reason=reason)
        try:
            answer = unpack_answer(reply.content)
        except ProtocolMismatch as err:
            return Refusal(code=RefusalCode.PROTOCOL, reason=str(err))
        except Unreadable as err:
            return Refusal(code=RefusalCode.UNREADABLE, reason=str(err))
        digest = talk.instruction.base_digest
        if isinstance(answer, Update):
            self.holders.add((site, digest))
        elif answer.code == RefusalCode.BASE_MISSING and (site, digest) in self.holders:
            self.holders.discard((site, digest))
            return None
        return answer

    def _ask_name(self, node_id: int) -> str:
        """The name of a node of the simulation engine, asked once."""
        if node_id not in self.names:
            message = Message(RecordDict(), node_id, "query.name")
            (reply,) = self.grid.send_and_receive([message])
            self.names[node_id] = str(reply.content.config_records["site"]["name"])
        return self.names[node_id]


def _is_due(waiting: Waiting | None, node: Node) -> bool:
    """Whether a connected, unsettled hospital has to be asked (again)."""
    if waiting is None:
        return True
    silent = time.monotonic() - waiting.asked > ASK_AGAIN_SECONDS
    return silent or waiting.node.activation != node.activation
