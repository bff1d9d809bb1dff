"""Asking hospitals for a round's updates: who has been asked, who is settled, when the round is closed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from flwr.app import Message
from flwr.serverapp import Grid

from federation.config import RoundRules
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.wire import ProtocolMismatch, Unreadable, pack_instruction, unpack_answer
from server.countersign import Countersign
from server.mailbox import POLL_SECONDS, Mailbox, Node
from server.rounds import Answered, Asked, Event


@dataclass(kw_only=True, slots=True)
class Conversation:
    """One round's state: who has been asked, who is settled."""

    instruction: Instruction
    mail: Mailbox
    settled: dict[str, Answer] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    busy: float = field(default_factory=time.monotonic)
    """When the round last had a reason to stay open besides absent hospitals."""


@dataclass(kw_only=True, slots=True)
class Hospitals:
    """Every connected hospital, behind one function: `ask`."""

    grid: Grid
    rules: RoundRules
    number_site: Callable[[str], int | None]
    """The number that stands for a hospital in conditions; the same for the study's life."""
    countersign: Countersign
    """Signs what was last seen of each hospital's ledger."""
    holders: set[tuple[str, str]] = field(default_factory=set)
    """(site, digest) of frozen models that a site is known to hold."""
    names: dict[int, str] = field(default_factory=dict)
    """Names of nodes that Flower knows no name for (simulation engine)."""

    def ask(self, instruction: Instruction) -> Iterator[Event]:
        """Send one instruction to all; yield what happens until all are settled or time is up."""
        mail = Mailbox(grid=self.grid, kind="train", names=self.names)
        talk = Conversation(instruction=instruction, mail=mail)
        while not self._is_over(talk):
            online = mail.online()
            for site in sorted(online.keys() - talk.settled.keys()):
                if mail.is_due(online[site]):
                    yield self._send(talk, online[site])
            for site in sorted(mail.waiting.keys() & online.keys()):
                answer = self._hear(talk, site)
                if answer is not None:
                    talk.settled[site] = answer
                    mail.settle(site)
                    yield Answered(site=site, answer=answer)
            if mail.waiting.keys() & online.keys() or not self._has_quorum(talk):
                talk.busy = time.monotonic()
            time.sleep(POLL_SECONDS)
        for site in sorted(mail.waiting):
            reason = "no answer before the round was closed"
            yield Answered(site=site, answer=Refusal(code=RefusalCode.NO_ANSWER, reason=reason))

    def _is_over(self, talk: Conversation) -> bool:
        now = time.monotonic()
        return (
            (len(talk.settled) >= self.rules.num_sites and not talk.mail.waiting)
            or now - talk.started > self.rules.deadline_seconds
            or now - talk.busy > self.rules.grace_seconds
        )

    def _has_quorum(self, talk: Conversation) -> bool:
        updates = [answer for answer in talk.settled.values() if isinstance(answer, Update)]
        return len(updates) >= self.rules.min_sites

    def _send(self, talk: Conversation, node: Node) -> Asked:
        """Push the instruction to one hospital; the frozen model only if it may not hold it."""
        instruction = replace(
            talk.instruction,
            site_number=self.number_site(node.site),
            receipt=self.countersign.receipt_for(node.site),
            witness_key=self.countersign.public_key,
        )
        if (node.site, instruction.base_digest) in self.holders:
            instruction = replace(instruction, base=None)
        left = self.rules.deadline_seconds - (time.monotonic() - talk.started)
        talk.mail.send(node, pack_instruction(instruction), seconds_left=left)
        sizes = [
            tensor.nbytes
            for part in (instruction.weights, instruction.base or {})
            for tensor in part.values()
        ]
        return Asked(site=node.site, bytes_down=sum(sizes))

    def _hear(self, talk: Conversation, site: str) -> Answer | None:
        """A hospital's answer, if one has come."""
        answers = (self._read(talk, site, reply) for reply in talk.mail.replies(site))
        return next((answer for answer in answers if answer is not None), None)

    def _read(self, talk: Conversation, site: str, reply: Message) -> Answer | None:
        """The answer in a reply; None if the hospital has to be asked again."""
        if reply.has_error():
            reason = talk.mail.obituary(site, reply)
            return Refusal(code=RefusalCode.NO_ANSWER, reason=reason) if reason else None
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
