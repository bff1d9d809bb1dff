"""A hospital opens a box of its own at the coordinator's port, once, for no more than it was allowed."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from federation.own_boxes import own_box
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.opening import MAX_ANNOUNCEMENT_BYTES, allow
from tests.faults.gateway_process import SHARD, Gateway

ROUND = "up.0123456789ab.00001."
OWNER = f"{ROUND}a"
SPACE = own_box(OWNER, "a1" * 32)
OTHER = own_box(OWNER, "b2" * 32)
SIZES = [len(SHARD), 10]
DIGESTS = [hashlib.sha256(SHARD).hexdigest(), hashlib.sha256(bytes(10)).hexdigest()]
ANNOUNCED: dict[str, object] = {"sizes": SIZES, "digests": DIGESTS}


@pytest.fixture
def boxes(gateway: Gateway) -> Iterator[Boxes]:
    """What the coordinator's processes see; the hospital may leave two shards."""
    boxes = Boxes(boxes_path(gateway.state))
    allow(boxes, OWNER, len(SHARD) + 10)
    yield boxes
    boxes.forget(ROUND)


def announce(
    gateway: Gateway, content: object = None, *, space: str = SPACE, owner: str = OWNER
) -> int:
    body = json.dumps(ANNOUNCED if content is None else content).encode()
    return gateway.call("PUT", f"/blobs/{space}", gateway.token(owner, "open"), body)[0]


def leave(gateway: Gateway, number: int, body: bytes, *, space: str = SPACE) -> int:
    span = f"bytes 0-{len(body) - 1}/{SIZES[number]}"
    token = gateway.token(OWNER, "open")
    answer = gateway.call("PUT", f"/blobs/{space}/{number}", token, body, Content_Range=span)
    return answer[0]


def arrived(boxes: Boxes, space: str = SPACE) -> frozenset[int]:
    return boxes.arrived(space, sizes=SIZES, digests=DIGESTS)


def test_what_is_announced_can_be_left_and_is_what_the_coordinator_would_have_sent_for(
    gateway: Gateway, boxes: Boxes
) -> None:
    assert announce(gateway) == 201
    assert leave(gateway, 0, SHARD) == 201
    assert arrived(boxes) == {0}
    boxes.open(SPACE, sizes=SIZES, digests=DIGESTS)
    assert arrived(boxes) == {0}


def test_what_came_stays_when_the_same_is_announced_again(gateway: Gateway, boxes: Boxes) -> None:
    announce(gateway)
    leave(gateway, 0, SHARD)
    assert announce(gateway) == 201
    assert arrived(boxes) == {0}


def test_an_owner_has_one_box(gateway: Gateway, boxes: Boxes) -> None:
    announce(gateway)
    leave(gateway, 0, SHARD)
    assert announce(gateway, space=OTHER) == 201
    assert not boxes.folder(SPACE).exists()
    assert leave(gateway, 0, SHARD, space=OTHER) == 201
    assert arrived(boxes, OTHER) == {0}


def test_no_box_is_opened_that_was_not_allowed(gateway: Gateway, boxes: Boxes) -> None:
    owner = f"{ROUND}b"
    assert announce(gateway, space=own_box(owner, "a1" * 32), owner=owner) == 404
    assert [name for name in boxes.names() if name.startswith(owner)] == []


def test_nothing_can_be_opened_or_left_once_the_round_is_over(
    gateway: Gateway, boxes: Boxes
) -> None:
    announce(gateway)
    boxes.forget(ROUND)
    assert announce(gateway) == 404
    assert leave(gateway, 0, SHARD) == 404
    assert [name for name in boxes.names() if name.startswith(ROUND)] == []


def test_a_box_for_more_bytes_than_allowed_is_not_opened(gateway: Gateway, boxes: Boxes) -> None:
    large = ANNOUNCED | {"sizes": [len(SHARD), 11]}
    assert announce(gateway, large) == 413
    assert not boxes.folder(SPACE).exists()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"sizes": [], "digests": []},
        ANNOUNCED | {"sizes": [10]},
        ANNOUNCED | {"sizes": [-1, 10]},
        ANNOUNCED | {"sizes": [0, 10]},
        ANNOUNCED | {"sizes": [True, 10]},
        ANNOUNCED | {"sizes": [1.5, 10]},
        ANNOUNCED | {"digests": ["A" * 64, "0" * 64]},
        ANNOUNCED | {"digests": [7, "0" * 64]},
        {"sizes": [1] * 10_001, "digests": ["0" * 64] * 10_001},
    ],
)
def test_an_announcement_that_says_no_shards_opens_nothing(
    gateway: Gateway, boxes: Boxes, content: object
) -> None:
    assert announce(gateway, content) == 400
    assert not boxes.folder(SPACE).exists()


def test_an_announcement_without_end_is_refused(gateway: Gateway, boxes: Boxes) -> None:
    body = b" " * (MAX_ANNOUNCEMENT_BYTES + 1)
    status, _, _ = gateway.call("PUT", f"/blobs/{SPACE}", gateway.token(OWNER, "open"), body)
    assert status == 413
    assert not boxes.folder(SPACE).exists()


@pytest.mark.parametrize(
    ("space", "right"),
    [(f"{ROUND}b", "open"), (OWNER, "leave"), (SPACE, "leave"), (SPACE, "open"), (OWNER, "fetch")],
)
def test_a_token_for_something_else_opens_no_box(
    gateway: Gateway, boxes: Boxes, space: str, right: str
) -> None:
    token = gateway.token(space, right)  # type: ignore[arg-type]
    body = json.dumps(ANNOUNCED).encode()
    assert gateway.call("PUT", f"/blobs/{SPACE}", token, body)[0] == 401
    assert not boxes.folder(SPACE).exists()


def test_leave_to_open_a_box_is_no_leave_to_fetch(gateway: Gateway) -> None:
    token = gateway.token(OWNER, "open")
    assert gateway.call("GET", f"/blobs/{SPACE}/0", token)[0] == 401
