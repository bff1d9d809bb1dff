"""Asking every hospital for its counts, once, over Flower's grid."""

import time

from flwr.app import Message

from federation.messages import CountsAnswer, CountsRequest, Refusal, RefusalCode
from federation.wire.counts import pack_counts_request, unpack_counts
from federation.wire.header import ProtocolMismatch, Unreadable
from server.mailbox import Mailbox

ABSENT_SECONDS = 10.0
"""Time that a hospital which is not connected gets to come back."""
ABSENT = "the hospital was not connected"
SILENT = "the hospital did not answer in time"


def ask_for_counts(
    mail: Mailbox, request: CountsRequest, *, sites: frozenset[str], wait_seconds: float
) -> dict[str, CountsAnswer]:
    """Every expected hospital's answer by name, and those of others that are connected.

    Args:
        mail: For messages of kind ``query.counts``.
        request: Goes to all.
        sites: Hospitals that are expected.
        wait_seconds: After that, whoever has not answered counts as silent.
    """
    settled: dict[str, CountsAnswer] = {}
    started = time.monotonic()
    while True:
        online, left = mail.online(), started + wait_seconds - time.monotonic()
        for site in sorted(online.keys() - settled.keys()):
            if mail.is_due(online[site]):
                mail.send(online[site], pack_counts_request(request), seconds_left=left)
        for site in sorted(mail.waiting.keys() & online.keys()):
            answer = _hear(mail, site, request)
            if answer is not None:
                settled[site] = answer
                mail.settle(site)
        unsettled = (sites | online.keys() | mail.waiting.keys()) - settled.keys()
        is_late = time.monotonic() - started > ABSENT_SECONDS
        if left <= 0 or (is_late and not unsettled & online.keys()) or not unsettled:
            return settled | {site: _no_answer(site, mail) for site in unsettled}
        mail.rest()


def _no_answer(site: str, mail: Mailbox) -> Refusal:
    reason = SILENT if site in mail.waiting else ABSENT
    return Refusal(code=RefusalCode.NO_ANSWER, reason=reason)


def _hear(mail: Mailbox, site: str, request: CountsRequest) -> CountsAnswer | None:
    """A hospital's answer, if one has come."""
    answers = (_read(mail, site, reply, request) for reply in mail.replies(site))
    return next((answer for answer in answers if answer is not None), None)


def _read(mail: Mailbox, site: str, reply: Message, request: CountsRequest) -> CountsAnswer | None:
    """The answer in a reply; None if the hospital has to be asked again."""
    if reply.has_error():
        reason = mail.obituary(site, reply)
        return Refusal(code=RefusalCode.NO_ANSWER, reason=reason) if reason else None
    try:
        return unpack_counts(reply.content, request)
    except ProtocolMismatch as err:
        return Refusal(code=RefusalCode.PROTOCOL, reason=str(err))
    except Unreadable as err:
        return Refusal(code=RefusalCode.UNREADABLE, reason=str(err))
