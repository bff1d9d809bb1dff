"""Parcels and shipments: a short description, and beside it the shards themselves if they travel inside the message.

The shards of a parcel are one object: Flower stores, confirms and deletes every array of a message by itself.
"""

import json
from math import prod
from typing import get_args

from flwr.app import Array, ArrayRecord, RecordDict

from federation.encoding import Encoding
from federation.messages import BoxTicket, Shipment, Step, Ticket
from federation.parcel import NotTheParcel, Parcel
from federation.wire.header import (
    MAX_WHOLE,
    Fields,
    Header,
    Unreadable,
    digest,
    fields_of,
    is_whole,
    put_part,
    text,
    texts,
    whole,
)
from model.tensors import Shapes

BLOB, STYPE = "tensors", "shards"
MAX_SHARDS = 10_000
MAX_TENSORS = 10_000
MAX_TENSOR_NAME = 200
"""Characters of a tensor's name."""
MAX_SHAPES_TEXT = 4 * 2**20
"""Characters of all names and shapes."""
MAX_SIDES = 8
"""Dimensions of a tensor."""
MAX_SHARD_VALUES = 2**28
"""Values of a shard: 1 GiB in float32."""
MAX_LINK = 4096
"""Characters of a ticket's link, or of its token."""
DIGEST_BYTES = 32


def put_shipment(record: RecordDict, name: str, shipment: Shipment) -> None:
    """Lay a shipment into an outgoing record."""
    put_parcel(record, name, shipment.parcel, shipment.content, digest=shipment.digest)
    if shipment.ticket is not None:
        put_part(record, f"{name}.ticket", ticket_fields(shipment.ticket))
    if shipment.step is not None:
        step = shipment.step
        put_parcel(record, f"{name}.step", step.parcel, None, from_digest=step.from_digest)
        if step.ticket is not None:
            put_part(record, f"{name}.step.ticket", ticket_fields(step.ticket))


def shipment_in(record: RecordDict, name: str) -> Shipment:
    """The shipment that lies in a record.

    Raises:
        Unreadable: it is missing or malformed.
    """
    fields = fields_of(record, name)
    if fields is None:
        raise Unreadable(name)
    parcel = parcel_in(fields, name)
    return Shipment(
        digest=digest(fields, "digest"),
        parcel=parcel,
        content=content_in(record, name, parcel),
        ticket=_ticket_in(record, name, parcel),
        step=_step_in(record, f"{name}.step"),
    )


def put_parcel(
    record: RecordDict, name: str, parcel: Parcel, content: bytes | None, **digests: str
) -> None:
    """Lay a parcel's description into an outgoing record, and its shards where they travel inside."""
    shapes = {each: list(shape) for each, shape in sorted(parcel.shapes.items())}
    fields: Fields = {
        **digests,
        "shapes": json.dumps(shapes, separators=(",", ":")),
        "encoding": parcel.encoding,
        "shard_values": parcel.shard_values,
        "digests": bytes.fromhex("".join(parcel.digests)),
    }
    put_part(record, name, fields)
    if content is not None:
        blob = Array(dtype="uint8", shape=(len(content),), stype=STYPE, data=content)
        record[f"{name}.content"] = ArrayRecord({BLOB: blob})


def parcel_in(fields: Header, name: str) -> Parcel:
    """The parcel that the fields of one part of a record describe.

    Raises:
        Unreadable: a field is missing or malformed, or they do not fit each other.
    """
    shard_values = whole(fields, "shard_values")
    if not 0 < shard_values <= MAX_SHARD_VALUES:
        raise Unreadable("shard_values")
    try:
        return Parcel(
            shapes=_shapes_in(fields),
            encoding=_encoding_in(fields),
            digests=_digests_in(fields),
            shard_values=shard_values,
        )
    except NotTheParcel as err:
        raise Unreadable(name) from err


def content_in(record: RecordDict, name: str, parcel: Parcel) -> bytes | None:
    """The bytes of all shards of a parcel; None if they are not inside. Their digests are not looked at.

    Raises:
        Unreadable: they are in another place or format, or too many or too few.
    """
    part = f"{name}.content"
    arrays = record.array_records.get(part)
    if arrays is None:
        return None
    if set(arrays) != {BLOB} or arrays[BLOB].stype != STYPE:
        raise Unreadable(part)
    content = arrays[BLOB].data
    if len(content) != parcel.num_bytes:
        raise Unreadable(part)
    return content


def ticket_fields(ticket: Ticket) -> Fields:
    """A ticket as fields of a record."""
    return {"links": list(ticket.links), "token": ticket.token, "expires": ticket.expires}


def ticket_in(fields: Header, *, num_links: int) -> Ticket:
    """The ticket that some fields hold.

    Raises:
        Unreadable: it is malformed, or not for as many shards as it should be.
    """
    links = texts(fields, "links", max_length=MAX_SHARDS, max_letters=MAX_LINK)
    if len(links) != num_links or not all(_is_plain(link) for link in links):
        raise Unreadable("links")
    return Ticket(links=links, token=_token(fields), expires=whole(fields, "expires"))


def box_fields(box: BoxTicket) -> Fields:
    """Leave to open a box as fields of a record."""
    return {
        "link": box.link,
        "token": box.token,
        "expires": box.expires,
        "max_bytes": box.max_bytes,
    }


def box_in(record: RecordDict, name: str) -> BoxTicket | None:
    """The leave to open a box that lies in a record; None if there is none.

    Raises:
        Unreadable: it is malformed.
    """
    fields = fields_of(record, name)
    if fields is None:
        return None
    link = text(fields, "link")
    if not link.startswith("/") or len(link) > MAX_LINK or not _is_plain(link):
        raise Unreadable("link")
    return BoxTicket(
        link=link,
        token=_token(fields),
        expires=whole(fields, "expires"),
        max_bytes=whole(fields, "max_bytes"),
    )


def _token(fields: Header) -> str:
    token = text(fields, "token")
    if len(token) > MAX_LINK or not _is_plain(token):
        raise Unreadable("token")
    return token


def _ticket_in(record: RecordDict, name: str, parcel: Parcel) -> Ticket | None:
    fields = fields_of(record, f"{name}.ticket")
    return None if fields is None else ticket_in(fields, num_links=len(parcel.digests))


def _step_in(record: RecordDict, name: str) -> Step | None:
    fields = fields_of(record, name)
    if fields is None:
        return None
    parcel = parcel_in(fields, name)
    return Step(
        from_digest=digest(fields, "from_digest"),
        parcel=parcel,
        ticket=_ticket_in(record, name, parcel),
    )


def _is_plain(value: str) -> bool:
    """Whether a text can stand in a line of HTTP."""
    return value.isascii() and value.isprintable() and " " not in value


def _encoding_in(fields: Header) -> Encoding:
    for encoding in get_args(Encoding):
        if fields.get("encoding") == encoding:
            found: Encoding = encoding
            return found
    raise Unreadable("encoding")


def _digests_in(fields: Header) -> tuple[str, ...]:
    content = fields.get("digests")
    if not isinstance(content, bytes) or len(content) % DIGEST_BYTES:
        raise Unreadable("digests")
    if len(content) > MAX_SHARDS * DIGEST_BYTES:
        raise Unreadable("digests")
    return tuple(
        content[start : start + DIGEST_BYTES].hex()
        for start in range(0, len(content), DIGEST_BYTES)
    )


def _shapes_in(fields: Header) -> Shapes:
    written = text(fields, "shapes")
    if len(written) > MAX_SHAPES_TEXT:
        raise Unreadable("shapes")
    try:
        shapes = json.loads(written)
    except (ValueError, RecursionError) as err:
        raise Unreadable("shapes") from err
    if not isinstance(shapes, dict) or len(shapes) > MAX_TENSORS:
        raise Unreadable("shapes")
    return {_tensor_name(name): _shape(shape) for name, shape in shapes.items()}


def _tensor_name(name: str) -> str:
    if not (0 < len(name) <= MAX_TENSOR_NAME and name.isprintable()) or name == "__metadata__":
        raise Unreadable("shapes")
    return name


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > MAX_SIDES or not all(map(is_whole, shape)):
        raise Unreadable("shapes")
    if prod(max(side, 1) for side in shape) >= MAX_WHOLE:
        raise Unreadable("shapes")
    return tuple(shape)
