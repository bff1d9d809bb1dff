"""The coordinator's request to leave a finished update's shards somewhere, and the hospital's answer."""

from itertools import pairwise

from flwr.app import RecordDict

from federation.messages import Delivered, Delivery, DeliveryRequest, Refusal
from federation.wire.header import (
    Fields,
    Header,
    Unreadable,
    digest,
    header_of,
    is_whole,
    refusal_fields,
    refusal_in,
    whole,
    with_header,
)
from federation.wire.parcels import MAX_SHARDS, ticket_fields, ticket_in


def pack_delivery_request(request: DeliveryRequest) -> RecordDict:
    """Encode for the coordinator's outgoing message."""
    fields: Fields = {
        "study_digest": request.study_digest,
        "round_number": request.round_number,
        "parcel_digest": request.parcel_digest,
        "shards": list(request.shards),
        **ticket_fields(request.ticket),
    }
    return with_header(fields)


def unpack_delivery_request(record: RecordDict) -> DeliveryRequest:
    """Decode at the hospital.

    Raises:
        ProtocolMismatch: if the coordinator runs another release.
        Unreadable: if a field is missing or of another kind.
    """
    header = header_of(record)
    shards = _shards(header)
    return DeliveryRequest(
        study_digest=digest(header, "study_digest"),
        round_number=whole(header, "round_number"),
        parcel_digest=digest(header, "parcel_digest"),
        shards=shards,
        ticket=ticket_in(header, num_links=len(shards)),
    )


def pack_delivery(delivery: Delivery) -> RecordDict:
    """Encode for the hospital's reply."""
    if isinstance(delivery, Refusal):
        return with_header(refusal_fields(delivery))
    return with_header({"parcel_digest": delivery.parcel_digest})


def unpack_delivery(record: RecordDict) -> Delivery:
    """Decode at the coordinator.

    Raises:
        ProtocolMismatch: if the hospital runs another release.
        Unreadable: if it says neither what was left nor why not.
    """
    header = header_of(record)
    return refusal_in(header) or Delivered(parcel_digest=digest(header, "parcel_digest"))


def _shards(header: Header) -> tuple[int, ...]:
    """Numbers of shards, ascending."""
    shards = header.get("shards")
    if not isinstance(shards, list) or not all(map(is_whole, shards)):
        raise Unreadable("shards")
    if any(one >= two for one, two in pairwise([*shards, MAX_SHARDS])):
        raise Unreadable("shards")
    return tuple(shards)
