"""Why the other side is not trusted, or does not trust us, as the one word that a node leaves for its operators."""

import email.utils
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx

from client.node_status import NodeStatus
from federation.enrolment import Refused

FAULTS = {
    9: NodeStatus.COORDINATOR_NOT_YET_VALID,
    10: NodeStatus.COORDINATOR_EXPIRED,
    62: NodeStatus.COORDINATOR_WRONG_NAME,
    64: NodeStatus.COORDINATOR_WRONG_NAME,
}
"""OpenSSL's codes (x509_vfy.h): not yet valid, expired, another host name, another address. All others: not ours."""
CLOCKS_AGREE_SECONDS = 4.0
"""Flower takes a signature up to 5 s ahead of its clock, and 305 s behind."""


def status_of_failure(error: BaseException) -> NodeStatus | None:
    """What is wrong with the certificate of whoever answered; None if that is not what failed."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FAULTS.get(cause.verify_code, NodeStatus.UNTRUSTED)
    return NodeStatus.UNTRUSTED if "certificate" in str(error).lower() else None


def status_of_answer(response: httpx.Response) -> NodeStatus:
    """What an answer other than success says about this hospital."""
    match response.status_code:
        case 412:
            return NodeStatus.UNADMITTED
        case 401:
            return _status_of_signature(response)
        case 403:
            return status_of_refusal(response.text)
        case _:
            return NodeStatus.UNREACHABLE


def status_of_refusal(word: str) -> NodeStatus:
    """The coordinator's word for why a certificate does not count; others may answer 403 as well."""
    try:
        return NodeStatus(str(Refused(word.strip())))
    except ValueError:
        return NodeStatus.UNREACHABLE


def _status_of_signature(response: httpx.Response) -> NodeStatus:
    """Every call is signed with its time; the public port says what of it is wrong, Flower's hub does not."""
    words = {"clock": NodeStatus.CLOCK, "signature": NodeStatus.SIGNATURE}
    told = words.get(response.text.strip())
    return told or (NodeStatus.SIGNATURE if _clocks_agree(response) else NodeStatus.CLOCK)


def _clocks_agree(response: httpx.Response) -> bool:
    try:
        theirs = email.utils.parsedate_to_datetime(response.headers.get("date", ""))
    except (TypeError, ValueError):
        return False
    return abs((datetime.now(UTC) - theirs).total_seconds()) < CLOCKS_AGREE_SECONDS


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
