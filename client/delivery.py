"""Leaving the shards of a finished update where the coordinator asked for them, or a small one before it asks."""

import logging
import time
from dataclasses import replace

from client.config import SiteConfig
from client.control.gate import gate_of
from client.kept import Finished, KeptRounds, study_folder
from client.leaving import let_leave
from client.refused import NotTaken
from client.transfer.leave import leave_shards
from client.transfer.line import LineBroken
from client.transfer.opening import open_box
from client.transfer.refusals import TransferRefused
from federation.messages import BoxTicket, Delivered, Delivery, DeliveryRequest, RefusalCode
from federation.parcel import shards_in_file

logger = logging.getLogger(__name__)

AT_ONCE_SECONDS = 60.0
"""For a change that was not asked for yet: later no other shard of it is begun, and the answer waits no longer."""


def deliver(site: SiteConfig, request: DeliveryRequest) -> Delivery:
    """Send some shards of an update that was answered before; nothing is trained for it.

    Asked twice at a time, the second waits for the first and finds everything there.
    """
    try:
        gate_of(site).require_open(request.study_digest)
        folder = study_folder(site, request.study_digest)
        if not folder.is_dir():
            raise _not_kept()
        kept = KeptRounds(folder)
        with kept.delivery_lock():
            _send(site, request, _find(kept, request))
    except NotTaken as err:
        logger.warning("round %d is not delivered: %s", request.round_number, err)
        return err.refusal
    return Delivered(parcel_digest=request.parcel_digest)


def leave_at_once(site: SiteConfig, box: BoxTicket, finished: Finished, kept: KeptRounds) -> None:
    """Leave a change of few bytes before the answer that offers it; whatever does not arrive now is sent for.

    Args:
        site: Whose it is.
        box: Leave to do so.
        finished: What may leave (`let_leave`).
        kept: Where it lies.

    Raises:
        NotTaken: the hospital takes no part any more.
    """
    parcel = finished.update.change
    if parcel.num_bytes > box.max_bytes:
        return
    read = shards_in_file(parcel, finished.path)
    with kept.delivery_lock():
        try:
            ticket = open_box(site, box, parcel)
            soon = min(ticket.expires, int(time.time() + AT_ONCE_SECONDS))
            ticket = replace(ticket, expires=soon)
            leave_shards(site, ticket, parcel, read, range(len(parcel.sizes)))
        except (LineBroken, TransferRefused) as err:
            logger.warning("the change is to be sent for: %s", err)


def _find(kept: KeptRounds, request: DeliveryRequest) -> Finished:
    """The very update that is asked for, with all of the shards that are."""
    found = kept.read(request.round_number)
    if found is None or found.update.study_digest != request.study_digest:
        raise _not_kept()
    parcel = found.update.change
    if parcel.digest != request.parcel_digest:
        raise _not_kept()
    if any(number >= len(parcel.digests) for number in request.shards):
        raise NotTaken(RefusalCode.NOT_KEPT, "the update has fewer shards than are asked for")
    return found


def _send(site: SiteConfig, request: DeliveryRequest, finished: Finished) -> None:
    let_leave(site, finished)
    parcel = finished.update.change
    read = shards_in_file(parcel, finished.path)
    leave_shards(site, request.ticket, parcel, read, request.shards)


def _not_kept() -> NotTaken:
    return NotTaken(RefusalCode.NOT_KEPT, "the hospital does not keep the update that is asked for")
