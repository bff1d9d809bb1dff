"""One round's talk with the hospitals: who has been asked, who is settled, when the round is closed."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Message

from federation.config import RoundRules
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.wire.header import ProtocolMismatch, Unreadable
from federation.wire.rounds import pack_instruction, unpack_answer
from server.mailbox import NOT_NOW, Mailbox, Node
from server.sites import Answered, Asked, Event, NotNow

NOT_NOW_SECONDS = 20.0
"""Within which a hospital that was put off says that it still takes no part."""

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
    """When the round's deadline began to run; it does not while the quorum waits for people at hospitals."""
    busy: float = field(default_factory=time.monotonic)
    """When the round last had a reason to stay open besides absent hospitals."""
    put_off: dict[str, Refusal] = field(default_factory=dict)
    """What hospitals said that are asked again."""


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
                yield _take(talk, online[site], answer)
        _note_time(talk, online)
        if not _is_over(talk):
            mail.rest()
    yield from _unsettled(talk)


def _take(talk: Conversation, node: Node, answer: Answer) -> Event:
    """Settle a hospital, or put it off."""
    site = node.site
    if isinstance(answer, Refusal) and answer.code in NOT_NOW:
        talk.mail.let_rest(node)
        talk.put_off[site] = answer
        return NotNow(site=site, refusal=answer)
    talk.settled[site] = answer
    talk.mail.settle(site)
    return Answered(site=site, answer=answer)


def _unsettled(talk: Conversation) -> Iterator[Event]:
    """What becomes of hospitals that took no part, or did not answer, once the round is closed."""
    silent = Refusal(code=RefusalCode.NO_ANSWER, reason="no answer before the round was closed")
    waiting = talk.mail.waiting.keys()
    for site in sorted(waiting | (talk.put_off.keys() - talk.settled.keys())):
        works = site in waiting and _works(talk, site)
        yield Answered(site=site, answer=silent if works else talk.put_off[site])


def _note_time(talk: Conversation, online: Mapping[str, Node]) -> None:
    """Keep the round open while somebody works, or while its quorum depends on people at hospitals that answer."""
    lacks_quorum = talk.num_admitted() < talk.rules.min_sites
    if lacks_quorum or any(_works(talk, site) for site in talk.mail.waiting.keys() & online.keys()):
        talk.busy = time.monotonic()
    if lacks_quorum and (talk.mail.resting.keys() - talk.mail.waiting.keys()) & online.keys():
        talk.started = time.monotonic()


def _works(talk: Conversation, site: str) -> bool:
    """Whether a hospital that owes an answer may be training; one that still takes no part says so at once."""
    since = time.monotonic() - talk.mail.waiting[site].asked
    return site not in talk.mail.resting or since > NOT_NOW_SECONDS


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
    if node.site in talk.mail.resting:
        instruction, asked = without_tensors(instruction), replace(asked, bytes_down=0)
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
    elif answer.code == RefusalCode.BASE_MISSING and _was_kept_back(talk, site):
        talk.holders.discard(held)
        talk.mail.resting.pop(site, None)
        return None
    elif answer.code == RefusalCode.TRANSFER:  # the line was down for as long as the ticket held
        return None
    return answer


def _was_kept_back(talk: Conversation, site: str) -> bool:
    """Whether the last instruction to a hospital came without tensors that it may not hold."""
    return site in talk.mail.resting or (site, talk.instruction.base_digest) in talk.holders


def without_tensors(instruction: Instruction) -> Instruction:
    """A question that costs no line anything: a hospital that takes part now, and lacks the tensors, says so."""
    base = instruction.base
    return replace(
        instruction,
        weights=replace(instruction.weights, content=None),
        base=None if base is None else replace(base, content=None),
    )
