"""One round's talk with the hospitals: who has been asked, who is settled, when the round is closed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flwr.app import Message

from federation.config import RoundRules
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.wire.header import ProtocolMismatch, Unreadable
from federation.wire.rounds import pack_instruction, unpack_answer
from server.mailbox import Mailbox, Node, pause_seconds
from server.rounds import Answered, Asked, Event

Address = Callable[[Instruction, Node], tuple[Instruction, Asked]]
"""The instruction as one hospital gets it, and what is to be remembered of that."""


@dataclass(kw_only=True, slots=True)
class Conversation:
    """One round's state: who has been asked, who is settled."""

    instruction: Instruction
    mail: Mailbox
    rules: RoundRules
    holders: set[tuple[str, str]]
    """(site, digest) of frozen models that a site is known to hold; kept from round to round."""
    num_admitted: Callable[[], int]
    """Hospitals whose updates count so far."""
    settled: dict[str, Answer] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    busy: float = field(default_factory=time.monotonic)
    """When the round last had a reason to stay open besides absent hospitals."""


def conduct(talk: Conversation, address: Address) -> Iterator[Event]:
    """Send the instruction to all; yield what happens until all are settled or time is up."""
    mail = talk.mail
    while not _is_over(talk):
        online = mail.online()
        for site in sorted(online.keys() - talk.settled.keys()):
            if mail.is_due(online[site]):
                yield _send(talk, online[site], address)
        for site in sorted(mail.waiting.keys() & online.keys()):
            answer = _hear(talk, site)
            if answer is not None:
                talk.settled[site] = answer
                mail.settle(site)
                yield Answered(site=site, answer=answer)
        if mail.waiting.keys() & online.keys() or talk.num_admitted() < talk.rules.min_sites:
            talk.busy = time.monotonic()
        time.sleep(pause_seconds(len(mail.waiting)))
    for site in sorted(mail.waiting):
        reason = "no answer before the round was closed"
        yield Answered(site=site, answer=Refusal(code=RefusalCode.NO_ANSWER, reason=reason))


def _is_over(talk: Conversation) -> bool:
    now = time.monotonic()
    return (
        (len(talk.settled) >= talk.rules.num_sites and not talk.mail.waiting)
        or now - talk.started > talk.rules.deadline_seconds
        or now - talk.busy > talk.rules.grace_seconds
    )


def _send(talk: Conversation, node: Node, address: Address) -> Asked:
    """Push the instruction to one hospital."""
    instruction, asked = address(talk.instruction, node)
    left = talk.rules.deadline_seconds - (time.monotonic() - talk.started)
    talk.mail.send(node, pack_instruction(instruction), seconds_left=left)
    return asked


def _hear(talk: Conversation, site: str) -> Answer | None:
    """A hospital's answer, if one has come."""
    answers = (_read(talk, site, reply) for reply in talk.mail.replies(site))
    return next((answer for answer in answers if answer is not None), None)


def _read(talk: Conversation, site: str, reply: Message) -> Answer | None:
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
    held = (site, talk.instruction.base_digest)
    if isinstance(answer, Update):
        talk.holders.add(held)
    elif answer.code == RefusalCode.BASE_MISSING and held in talk.holders:
        talk.holders.discard(held)
        return None
    elif answer.code == RefusalCode.TRANSFER:  # the line was down for as long as the ticket held
        return None
    return answer
