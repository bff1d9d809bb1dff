"""A hospital opens a box itself, for a change that it leaves before it is asked: what it may take was allowed beforehand.

What is allowed lies in the owner's folder beside its boxes and goes with them, so that nothing can be left any more once
the round is over, whatever the ticket says. An owner has one box: announcing another change closes it.
"""

import json
import re
from dataclasses import dataclass
from typing import Self

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from federation.files import write_file
from federation.own_boxes import owner_of
from server.blobs.boxes import Boxes
from server.blobs.names import MAX_SHARDS

ALLOWANCE_NAME = "allowance.json"
MAX_ANNOUNCEMENT_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotAnAnnouncement(ValueError):
    """A body that says no shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """The shards that a hospital is going to leave."""

    sizes: tuple[int, ...]
    digests: tuple[str, ...]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """What the body of a request says.

        Raises:
            NotAnAnnouncement: it is none.
        """
        try:
            content = json.loads(body)
            sizes, digests = content["sizes"], content["digests"]
            rows = list(zip(sizes, digests, strict=True))
        except (ValueError, TypeError, KeyError, RecursionError) as err:
            raise NotAnAnnouncement from err
        if not 0 < len(rows) <= MAX_SHARDS or not all(map(_is_shard, sizes, digests)):
            raise NotAnAnnouncement
        return cls(sizes=tuple(sizes), digests=tuple(digests))


def allow(boxes: Boxes, owner: str, max_bytes: int) -> None:
    """Let whoever has the ticket open one box, for so many bytes."""
    path, content = boxes.folder(owner) / ALLOWANCE_NAME, json.dumps(max_bytes).encode()
    if not path.exists() or path.read_bytes() != content:
        write_file(path, content)


async def open_own_box(request: Request, boxes: Boxes, space: str) -> Response:
    """Open the box that the caller announces."""
    try:
        announced = Announcement.parse(await _body(request))
    except NotAnAnnouncement:
        raise HTTPException(400, "announcement") from None
    if not await run_sync(_open, boxes, space, announced):
        raise HTTPException(413, "too-large")
    return PlainTextResponse("open", 201)


def _open(boxes: Boxes, space: str, announced: Announcement) -> bool:
    """Open the box if that is allowed, and close the owner's others; False if it would take too much.

    Raises:
        HTTPException: 404 if nothing is allowed, or not any more.
    """
    max_bytes = _allowed(boxes, space)
    if sum(announced.sizes) > max_bytes:
        return False
    for other in boxes.names():
        if other != space and owner_of(other) == owner_of(space):
            boxes.forget(other)
    boxes.open(space, sizes=announced.sizes, digests=announced.digests)
    try:
        _allowed(boxes, space)
    except (
        HTTPException
    ):  # the round ended at this moment, perhaps before the box was there to be closed
        boxes.forget(space)
        raise
    return True


def _allowed(boxes: Boxes, space: str) -> int:
    try:
        return int((boxes.folder(owner_of(space) or space) / ALLOWANCE_NAME).read_bytes())
    except FileNotFoundError:
        raise HTTPException(404, "unknown") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_ANNOUNCEMENT_BYTES:
                raise HTTPException(413, "too-large")
    except ClientDisconnect as err:
        raise NotAnAnnouncement from err
    return bytes(body)


def _is_shard(size: object, digest: object) -> bool:
    is_size = isinstance(size, int) and not isinstance(size, bool) and size > 0
    return is_size and isinstance(digest, str) and _SHA256.fullmatch(digest) is not None
