"""Shards through the gateway over TLS on loopback, beside a bare TLS socket that copies to the same disk.

    python bench/blobs.py [--uploads 16] [--megabytes 1024] [--folder FOLDER]

Each shard is on the disk before it counts, on both sides. Memory is the gateway's peak; health is how long others
wait for an answer meanwhile.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from federation.certificates import Certificate, issue_certificate, make_authority
from federation.node_keys import make_node_key, publish_public_key
from federation.processes import free_port
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.names import shard_link
from server.blobs.published import Published, published_path
from server.blobs.tickets import load_key, sign_token

SHARD_BYTES = 2**24
PIECE_BYTES = 2**20
HOUR = 3600
SITE = "a"
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """One that runs."""

    state_path: Path
    port: int
    process: psutil.Process
    trusted: ssl.SSLContext

    def connection(self) -> http.client.HTTPSConnection:
        """A new connection to it."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.trusted)

    def headers(self, space: str, right: str) -> dict[str, str]:
        """What opens a space."""
        expires = int(time.time()) + HOUR
        key = load_key(self.state_path)
        token = sign_token(key, site=SITE, space=space, right=right, expires=expires)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {token}"}


@contextmanager
def running_gateway(folder: Path) -> Iterator[Gateway]:
    """A gateway process in front of nothing."""
    tls = _certificate(folder)
    publish_public_key(make_node_key(folder / "hospital", SITE), folder / "roster" / f"{SITE}.pub")
    port = free_port()
    arguments = (
        *(sys.executable, "-m", "server.gateway", "--host", "127.0.0.1", "--port", str(port)),
        *("--upstream-port", "1", "--ca", str(tls.ca_path), "--state", str(folder)),
        *("--cert", str(tls.cert_path), "--key", str(tls.key_path)),
    )
    process = subprocess.Popen(arguments)
    try:
        _await_port(port)
        yield Gateway(
            state_path=folder,
            port=port,
            process=psutil.Process(process.pid),
            trusted=ssl.create_default_context(cafile=tls.ca_path),
        )
    finally:
        process.terminate()
        process.wait()


def _certificate(folder: Path) -> Certificate:
    return issue_certificate(folder / "tls", make_authority(folder / "tls"), ("127.0.0.1",))


def _await_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def raw_rate(folder: Path, num_shards: int, content: bytes) -> float:
    """MB/s of a bare TLS socket whose reader writes to disk and syncs after each shard."""
    tls = _certificate(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    reader = FORK.Process(target=_copy_to_disk, args=(listener, tls, folder / "raw", num_shards))
    reader.start()
    trusted = ssl.create_default_context(cafile=tls.ca_path)
    plain = socket.create_connection(listener.getsockname())
    with trusted.wrap_socket(plain, server_hostname="127.0.0.1") as line:
        begin = time.perf_counter()
        for _ in range(num_shards):
            for start in range(0, len(content), PIECE_BYTES):
                line.sendall(content[start : start + PIECE_BYTES])
        line.recv(1)
        seconds = time.perf_counter() - begin
    reader.join()
    (folder / "raw").unlink()
    return num_shards * len(content) / 1e6 / seconds


def _copy_to_disk(listener: socket.socket, tls: Certificate, path: Path, num_shards: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_path, tls.key_path)
    line = context.wrap_socket(listener.accept()[0], server_side=True)
    buffer = bytearray(PIECE_BYTES)
    with path.open("wb", buffering=0) as file:
        for _ in range(num_shards):
            left = SHARD_BYTES
            while left:
                length = line.recv_into(buffer, min(left, PIECE_BYTES))
                file.write(memoryview(buffer)[:length])
                left -= length
            os.fsync(file.fileno())
    line.send(b"x")


def put_shards(gateway: Gateway, space: str, content: bytes, num_shards: int) -> None:
    """Leave the same content as every shard of a box."""
    line, headers = gateway.connection(), gateway.headers(space, "leave")
    headers["Content-Range"] = f"bytes 0-{len(content) - 1}/{len(content)}"
    for number in range(num_shards):
        line.request(
            "PUT",
            shard_link(space, number),
            body=_Pieces(content),
            headers=headers | {"Content-Length": str(len(content))},
        )
        answer = line.getresponse()
        answer.read()
        if answer.status != 201:
            raise RuntimeError(f"PUT: {answer.status}")


class _Pieces:
    """A body that is sent in pieces, like one that is read from a file."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._content), PIECE_BYTES):
            yield self._content[start : start + PIECE_BYTES]


def get_shards(gateway: Gateway, space: str, num_shards: int) -> None:
    """Fetch every shard and throw it away."""
    line, headers = gateway.connection(), gateway.headers(space, "fetch")
    buffer = bytearray(PIECE_BYTES)
    for number in range(num_shards):
        line.request("GET", shard_link(space, number), headers=headers)
        answer = line.getresponse()
        length = 0
        while count := answer.readinto(buffer):
            length += count
        if (answer.status, length) != (200, SHARD_BYTES):
            raise RuntimeError(f"GET: {answer.status}, {length} bytes")


def all_at_once(work: Callable[..., None], arguments: Sequence[tuple[object, ...]]) -> float:
    """Seconds until each of the processes has done its part."""
    processes = [FORK.Process(target=work, args=each) for each in arguments]
    begin = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError("a caller failed")
    return time.perf_counter() - begin


class Watch:
    """Looks at the gateway while it works: its memory, and how long others wait."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self.rss = 0
        self.waits: list[float] = []

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=look) for look in (self._memory, self._health)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _memory(self) -> None:
        while not self._stop.wait(0.02):
            self.rss = max(self.rss, self._gateway.process.memory_info().rss)

    def _health(self) -> None:
        line = self._gateway.connection()
        while not self._stop.wait(0.02):
            begin = time.perf_counter()
            line.request("GET", "/healthz")
            line.getresponse().read()
            self.waits.append(time.perf_counter() - begin)

    def line(self) -> str:
        """The figures."""
        waits = sorted(self.waits) or [0.0]
        median, worst = waits[len(waits) // 2], waits[-1]
        late = waits[int(len(waits) * 0.99)]
        return f"RSS {self.rss / 2**20:.0f} MiB, health median {median * 1e3:.1f} p99 {late * 1e3:.1f} max {worst * 1e3:.1f} ms"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=16)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with running_gateway(folder) as gateway:
            measure(gateway, folder, options.uploads, options.megabytes * 10**6 // SHARD_BYTES)


def measure(gateway: Gateway, folder: Path, num_uploads: int, num_shards: int) -> None:
    """All figures, one line each; the bare line before and after each pair, as a machine's pace changes."""
    content = secrets.token_bytes(SHARD_BYTES)
    path = folder / "published"
    path.write_bytes(content * 4)
    Published(published_path(folder)).publish("offer", path, 0, [SHARD_BYTES] * 4)
    before = raw_rate(folder, num_shards, content)
    for callers in (1, 2, 8, num_uploads):
        each = max(1, num_shards // callers // 4)
        put = measure_put(gateway, content, callers, each * 4)
        after = raw_rate(folder, num_shards, content)
        get = measure_get(gateway, callers, each)
        bare = (before + after) / 2
        before = after
        print(f"bare TLS socket to disk: {bare:.0f} MB/s")
        for name, (rate, watched) in {"PUT": put, "GET": get}.items():
            print(f"{name} x {callers}: {rate:.0f} MB/s = {rate / bare:.0%}; {watched}")


def measure_put(
    gateway: Gateway, content: bytes, callers: int, num_shards: int
) -> tuple[float, str]:
    """MB/s of so many callers at once, and what was seen meanwhile."""
    boxes = Boxes(boxes_path(gateway.state_path))
    digest = hashlib.sha256(content).hexdigest()
    spaces = [f"box-{index}" for index in range(callers)]
    for space in spaces:
        boxes.open(space, sizes=[SHARD_BYTES] * num_shards, digests=[digest] * num_shards)
    with Watch(gateway) as watch:
        work = [(gateway, space, content, num_shards) for space in spaces]
        seconds = all_at_once(put_shards, work)
    boxes.forget("box-")
    return callers * num_shards * SHARD_BYTES / 1e6 / seconds, watch.line()


def measure_get(gateway: Gateway, callers: int, times: int) -> tuple[float, str]:
    """MB/s of so many callers at once, each fetching four shards so often, and what was seen meanwhile."""
    with Watch(gateway) as watch:
        seconds = all_at_once(_get_again, [(gateway, times)] * callers)
    return callers * times * 4 * SHARD_BYTES / 1e6 / seconds, watch.line()


def _get_again(gateway: Gateway, times: int) -> None:
    for _ in range(times):
        get_shards(gateway, "offer", 4)


if __name__ == "__main__":
    main()
