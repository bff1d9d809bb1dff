"""A bucket is a place for blobs like the built-in one; this one is a server in a process of its own."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest

from federation.messages import Ticket
from federation.parcel import Parcel, Unpacked, pack
from federation.processes import free_port
from model.tensors import InMemory
from server.blobs import objects
from server.blobs.bucket import BucketStore
from server.blobs.objects import (
    BucketAddress,
    BucketUnusable,
    NoBucketClient,
    WrongBucketURL,
    bucket_address,
)
from server.blobs.store import BlobStore, ShardDamaged

SPACE = "study.round-1.a"
SECRET = "the secret of this test"  # noqa: S105


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Endpoint of an S3-compatible server with one empty bucket."""
    port = free_port()
    process = subprocess.Popen(
        (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    raise TimeoutError


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def store(server: str, tmp_path: Path) -> Iterator[BlobStore]:
    httpx.put(f"{server}/shards", trust_env=False)
    store = BucketStore(f"{server}/shards/fedcxr/prod", tmp_path / "scratch")
    yield store
    store.forget("")


@pytest.fixture
def tensors() -> InMemory:
    return InMemory({"w": np.random.default_rng(1).normal(size=200).astype(np.float32)})


@pytest.fixture
def parcel(tmp_path: Path, tensors: InMemory) -> Parcel:
    return pack(tmp_path / "change", tensors, "fp32", shard_values=64)


def shards(tmp_path: Path, parcel: Parcel) -> list[bytes]:
    content = (tmp_path / "change").read_bytes()
    starts = np.cumsum([0, *parcel.sizes]).tolist()
    return [content[first:last] for first, last in pairwise(starts)]


def leave(ticket: Ticket, contents: list[bytes]) -> None:
    for link, content in zip(ticket.links, contents, strict=True):
        assert httpx.put(link, content=content, trust_env=False).status_code == 200


def test_what_was_left_is_brought_as_it_was_packed(
    store: BlobStore, tmp_path: Path, parcel: Parcel, tensors: InMemory
) -> None:
    store.open_box(SPACE, parcel)
    assert store.arrived(SPACE, parcel) == frozenset()
    ticket = store.leave_ticket(SPACE, parcel, range(4), site="a", seconds=60)
    leave(ticket, shards(tmp_path, parcel))
    assert store.arrived(SPACE, parcel) == {0, 1, 2, 3}
    brought = Unpacked(parcel, store.bring(SPACE, parcel, range(4)))
    np.testing.assert_array_equal(brought["w"], tensors["w"])


def test_what_is_offered_is_fetched_whole_and_from_the_middle(
    store: BlobStore, tmp_path: Path, parcel: Parcel
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"header:" + (tmp_path / "change").read_bytes())
    store.publish(SPACE, parcel, file, 7)
    store.publish(SPACE, parcel, file, 7)
    ticket = store.fetch_ticket(SPACE, parcel, site="a", seconds=60)
    fetched = [httpx.get(link, trust_env=False).content for link in ticket.links]
    assert fetched == shards(tmp_path, parcel)
    rest = httpx.get(ticket.links[0], headers={"Range": "bytes=100-"}, trust_env=False)
    assert (rest.status_code, rest.content) == (206, fetched[0][100:])


def test_a_corrupted_object_is_refused_and_can_be_left_again(
    store: BlobStore, tmp_path: Path, parcel: Parcel
) -> None:
    contents = shards(tmp_path, parcel)
    ticket = store.leave_ticket(SPACE, parcel, range(4), site="a", seconds=60)
    leave(ticket, [contents[0], bytes(len(contents[1])), *contents[2:]])
    with pytest.raises(ShardDamaged, match="shard 1 of") as damaged:
        store.bring(SPACE, parcel, range(4))
    assert damaged.value.number == 1
    assert store.arrived(SPACE, parcel) == {0, 2, 3}
    assert sorted(path.name for path in (tmp_path / "scratch").rglob("0*")) == ["000000"]
    leave(store.leave_ticket(SPACE, parcel, [1], site="a", seconds=60), [contents[1]])
    assert store.bring(SPACE, parcel, range(4))(1, 0, parcel.sizes[1]) == contents[1]


def test_an_object_of_another_size_has_not_arrived(
    store: BlobStore, parcel: Parcel, tmp_path: Path
) -> None:
    contents = shards(tmp_path, parcel)
    leave(store.leave_ticket(SPACE, parcel, [0], site="a", seconds=60), [contents[0][:-1]])
    assert store.arrived(SPACE, parcel) == frozenset()


def test_dropped_shards_are_gone_here_and_there(
    store: BlobStore, tmp_path: Path, parcel: Parcel
) -> None:
    leave(
        store.leave_ticket(SPACE, parcel, range(4), site="a", seconds=60), shards(tmp_path, parcel)
    )
    store.bring(SPACE, parcel, range(4))
    store.drop(SPACE, [0, 3])
    store.drop(SPACE, [0, 3])
    assert store.arrived(SPACE, parcel) == {1, 2}
    left = sorted(path.name for path in (tmp_path / "scratch").rglob("0*"))
    assert left == ["000001", "000002"]


def test_what_is_forgotten_is_gone_and_the_rest_is_not(
    store: BlobStore, tmp_path: Path, parcel: Parcel
) -> None:
    for space in (SPACE, "study.round-2.a", "another"):
        store.publish(space, parcel, tmp_path / "change", 0)
        store.bring(space, parcel, [0])
    store.forget("study.")
    assert store.arrived(SPACE, parcel) == store.arrived("study.round-2.a", parcel) == frozenset()
    assert store.arrived("another", parcel) == {0, 1, 2, 3}
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["another"]


def test_links_end_with_their_ticket_and_bind_what_may_be_put(
    store: BlobStore, parcel: Parcel
) -> None:
    before = int(time.time())
    ticket = store.leave_ticket(SPACE, parcel, [2], site="a", seconds=90)
    asked = parse_qs(urlsplit(ticket.links[0]).query)
    assert asked["X-Amz-Expires"] == ["90"]
    assert asked["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert before + 90 <= ticket.expires <= before + 95
    assert urlsplit(ticket.links[0]).path == f"/shards/fedcxr/prod/{SPACE}/000002"
    assert ticket.token == ""
    assert SECRET not in ticket.links[0]


def test_no_link_is_asked_for_longer_than_a_bucket_signs(store: BlobStore, parcel: Parcel) -> None:
    ticket = store.fetch_ticket(SPACE, parcel, site="a", seconds=1e9)
    assert parse_qs(urlsplit(ticket.links[0]).query)["X-Amz-Expires"] == ["604800"]
    assert ticket.expires < time.time() + 604801


def test_a_bucket_that_is_not_there_is_said_in_a_sentence(
    server: str, tmp_path: Path, parcel: Parcel
) -> None:
    store = BucketStore(f"{server}/nobody-has-this", tmp_path)
    with pytest.raises(
        BucketUnusable, match=r"nobody-has-this cannot be used \(NoSuchBucket\)"
    ) as told:
        store.publish(SPACE, parcel, tmp_path / "change", 0)
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is None


def test_a_server_that_does_not_answer_is_said_in_a_sentence(
    tmp_path: Path, parcel: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    store = BucketStore("http://127.0.0.1:1/shards", tmp_path)
    with pytest.raises(BucketUnusable, match="EndpointConnectionError"):
        store.arrived(SPACE, parcel)


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(objects, "import_module", missing)
    with pytest.raises(NoBucketClient, match=re.escape("install fedcxr[bucket]")):
        BucketStore("s3://shards", tmp_path)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix", "endpoint"),
    [
        ("s3://shards", "shards", "", None),
        ("s3://shards/a/b/", "shards", "a/b/", None),
        ("https://s3.example.org/shards", "shards", "", "https://s3.example.org"),
        ("https://s3.example.org:9000/shards/a", "shards", "a/", "https://s3.example.org:9000"),
    ],
)
def test_an_address_is_read(url: str, bucket: str, prefix: str, endpoint: str | None) -> None:
    assert bucket_address(url) == BucketAddress(bucket=bucket, prefix=prefix, endpoint=endpoint)


@pytest.mark.parametrize(
    "url",
    [
        *("", "shards", "s3://", "https://s3.example.org", "http://s3.example.org/shards"),
        "https://somebody:password@s3.example.org/shards",
    ],
)
def test_what_is_no_address_is_refused_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(WrongBucketURL) as refused:
        bucket_address(url)
    assert "password" not in str(refused.value)
