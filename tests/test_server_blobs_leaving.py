"""What a caller hears when its line falls silent or the disk fails; and how a gateway begins."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from server.blobs import body
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.routes import BlobRoutes
from server.blobs.tickets import load_key, sign_token

SHARD = bytes(1000)


class Everybody:
    """Is a member."""

    def why_barred(self, site: str, since: float) -> None:
        """Never."""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    boxes = Boxes(boxes_path(tmp_path))
    boxes.open("box", sizes=[len(SHARD)], digests=[hashlib.sha256(SHARD).hexdigest()])
    return boxes.folder("box")


def put(state: Path, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
    token = sign_token(load_key(state), site="a", space="box", right="leave", expires=2**40)
    headers = {"Authorization": f"Bearer {token}", "Content-Range": "bytes 0-999/1000"}

    async def send() -> httpx.Response:
        front = httpx.ASGITransport(app=Starlette(routes=BlobRoutes(state, Everybody()).routes()))
        async with httpx.AsyncClient(base_url="https://gateway", transport=front) as caller:
            return await caller.put("/blobs/box/0", content=content, headers=headers)

    return asyncio.run(send())


async def that_stops() -> AsyncIterator[bytes]:
    yield SHARD[:300]
    await asyncio.sleep(3600)


def test_a_line_that_falls_silent_is_given_up_and_what_came_stays(
    tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SILENCE_SECONDS", 0.05)
    answer = put(tmp_path, that_stops())
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (408, "300")
    assert answer.headers["Connection"] == "close"
    assert (box / "000000.part").stat().st_size == 300


def test_a_disk_that_fails_is_a_reason_to_try_again(tmp_path: Path, box: Path) -> None:
    (box / "000000.part").mkdir()
    assert put(tmp_path, SHARD).status_code == 503
    (box / "000000.part").rmdir()
    assert put(tmp_path, SHARD).status_code == 201


def test_a_gateway_begins_with_finishing_what_was_being_emptied(tmp_path: Path, box: Path) -> None:
    gone = box.with_name(".gone.abc")
    gone.mkdir()
    (gone / "000000").write_bytes(SHARD)
    BlobRoutes(tmp_path, Everybody())
    assert [path.name for path in box.parent.iterdir()] == ["box"]
