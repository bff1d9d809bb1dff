"""What becomes of a hospital's answer: an offer that counts unless its shards say otherwise, or a refusal."""

import logging
from dataclasses import dataclass, replace

from federation.messages import Answer, Refusal, RefusalCode, Update
from federation.parcel import NotTheParcel, ReadShard, shards_in_file
from federation.shipment import open_content
from server.admission import inspect, inspect_ledger
from server.cohort import expectation
from server.collection import Expected
from server.records import Part
from server.state import GlobalState
from server.store import StudyStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An admitted update: its part in the round, and where its change is to be had."""

    part: Part
    change: Expected


def settle(store: StudyStore, state: GlobalState, part: Part, answer: Answer) -> Part:
    """What a hospital's answer makes of its part."""
    if isinstance(answer, Refusal):
        return refused(part, answer)
    expected, seen = expectation(store.study, state, part.site), store.witnessed(part.site)
    part = replace(
        part,
        loss=answer.loss,
        held_out_loss=answer.held_out_loss,
        seconds=answer.seconds,
        num_records=answer.num_records,
        num_files=answer.num_files,
        norm=answer.norm,
        bytes_up=part.bytes_up + len(answer.content or b""),
    )
    refusal = inspect(answer, expected)
    if refusal is None and expected.is_private:
        refusal = inspect_ledger(answer.ledger, seen.head if seen else None)
    return refused(part, refusal) if refusal else replace(part, state="admitted")


def take(store: StudyStore, part: Part, update: Update, offers: dict[str, Offer]) -> Part:
    """Put an admitted update to the offers, and keep what came with it: its shards, and where its ledger stands."""
    read: ReadShard | None = None
    if update.content is not None:
        try:
            open_content(update.change, update.content)
        except NotTheParcel as err:
            refusal = Refusal(code=RefusalCode.UNREADABLE, reason=f"its change is damaged: {err}")
            return refused(part, refusal)
        path = store.scratch_path(part.site)
        path.write_bytes(update.content)
        read = shards_in_file(update.change, path)
    if update.ledger is not None:
        store.witness(part.site, update.ledger, part.number)
    change = Expected(parcel=update.change, norm=update.norm, read=read)
    offers[part.site] = Offer(part=part, change=change)
    return part


def delivered(offer: Offer, num_left: int | None) -> Part:
    """The part of a hospital with the bytes that it really left; with those that it announced where nobody counted."""
    if offer.change.read is not None:  # they came inside its message
        return offer.part
    num_bytes = offer.change.parcel.num_bytes if num_left is None else num_left
    return replace(offer.part, bytes_up=offer.part.bytes_up + num_bytes)


def put_off(part: Part, refusal: Refusal) -> Part:
    """The part of a hospital that takes none yet."""
    return replace(part, state="waiting", code=str(refusal.code), reason=refusal.reason)


def refused(part: Part, refusal: Refusal) -> Part:
    """The part of a hospital that does not count in this round."""
    logger.warning("round %d: %s is refused: %s", part.number, part.site, refusal.reason)
    return replace(part, state="refused", code=str(refusal.code), reason=refusal.reason)
