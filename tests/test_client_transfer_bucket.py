"""A bucket that the hospital's profile names: whole shards, signed links, and no token of the coordinator's."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from client.config import SiteConfig
from client.transfer import patience
from client.transfer.fetch import fetch_shards
from client.transfer.leave import leave_shards
from client.transfer.moved import Moved
from client.transfer.refusals import HostNotAllowed, NotWanted
from federation.messages import Ticket
from federation.parcel import Parcel, pack, shards_in_file
from federation.processes import free_port
from model.tensors import InMemory
from tests.faults.blob_server import hospital
from tests.faults.line import FaultyLine

pytestmark = pytest.mark.slow


class Bucket:
    """Signs links to one bucket on this machine."""

    def __init__(self, port: int) -> None:
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106
        )
        self.client.create_bucket(Bucket="study")

    def ticket(self, call: str, num_shards: int, *, port: int) -> Ticket:
        """Links to all shards, by way of another port."""
        signed = (
            self.client.generate_presigned_url(
                call, Params={"Bucket": "study", "Key": f"space/{number}"}
            )
            for number in range(num_shards)
        )
        own = self.client.meta.endpoint_url
        links = tuple(link.replace(own, f"http://127.0.0.1:{port}") for link in signed)
        return Ticket(links=links, token="secret.token", expires=int(time.time()) + 60)  # noqa: S106


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of an S3 server."""
    number = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=number, verbose=False)
    server.start()
    yield number
    server.stop()


@pytest.fixture
def bucket(port: int) -> Bucket:
    """An empty one."""
    return Bucket(port)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter pauses."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.02)


@pytest.fixture
def change(tmp_path: Path) -> Parcel:
    """Two shards, in the file ``change``."""
    values = np.random.default_rng(3).standard_normal(500_000, dtype=np.float32)
    return pack(tmp_path / "change", InMemory({"w": values}), "fp32", shard_values=2**18)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """Lets bytes go to this machine's bucket."""
    return hospital(tmp_path, 1, blob_hosts=("127.0.0.1",))


def test_shards_go_to_a_bucket_and_come_back_over_a_line_that_is_cut(
    tmp_path: Path, bucket: Bucket, port: int, change: Parcel, site: SiteConfig
) -> None:
    read, told = shards_in_file(change, tmp_path / "change"), list[Moved]()
    path = tmp_path / "received"
    path.touch()
    with FaultyLine(port) as line:
        line.cut_after(600_000)
        ticket = bucket.ticket("put_object", 2, port=line.port)
        leave_shards(site, ticket, change, read, (0, 1), on_end=told.append)
        line.cut_after(600_000, times=3)
        ticket = bucket.ticket("get_object", 2, port=line.port)
        fetch_shards(site, ticket, change, path, start=0, on_end=told.append)
        assert line.cuts == 4
    stored = bucket.client.get_object(Bucket="study", Key="space/1")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == change.digests[1]
    assert path.read_bytes() == (tmp_path / "change").read_bytes()
    assert told[0].num_bytes - told[0].num_bytes_again == change.num_bytes
    assert told[1].num_bytes == change.num_bytes


def test_an_object_that_is_gone_is_not_wanted(
    tmp_path: Path, bucket: Bucket, port: int, change: Parcel, site: SiteConfig
) -> None:
    path = tmp_path / "received"
    path.touch()
    ticket = bucket.ticket("get_object", 2, port=port)
    bucket.client.delete_object(Bucket="study", Key="space/0")
    with pytest.raises(NotWanted):
        fetch_shards(site, ticket, change, path, start=0)


def test_a_bucket_that_the_profile_does_not_name_is_not_asked(
    tmp_path: Path, bucket: Bucket, port: int, change: Parcel
) -> None:
    ticket = bucket.ticket("put_object", 2, port=port)
    read = shards_in_file(change, tmp_path / "change")
    with pytest.raises(HostNotAllowed, match="keeps the bytes at 127"):
        leave_shards(hospital(tmp_path, 1), ticket, change, read, (0, 1))
