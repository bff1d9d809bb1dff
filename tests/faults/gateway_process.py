"""A gateway in a process of its own, with a box and an offer, and a caller that speaks HTTP as it likes."""

import hashlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from federation.certificates import issue_certificate, make_authority
from federation.node_keys import make_node_key, publish_public_key
from federation.processes import free_port
from server.blobs.boxes import Boxes, boxes_path
from server.blobs.published import Published, published_path
from server.blobs.tickets import Right, load_key, sign_token

SHARD = bytes(range(256)) * 4096
"""One MiB."""
SITE = "a"
"""Of whom the roster has a key, and whose tickets are shown."""
BOX, OFFER = "study.round-1.a", "study.weights"
Answer = tuple[int, http.client.HTTPMessage, bytes]


@dataclass(kw_only=True)
class Gateway:
    """A gateway process, and a way to call it."""

    state: Path
    port: int
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    wrapper: tuple[str, ...] = ()
    """What the process is started by."""
    upstream_port: int = 1
    """Where the SuperLink listens; nobody does at port 1."""
    tokens: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Return once it listens."""
        tls = self.state / "tls"
        arguments = (
            *self.wrapper,
            *(sys.executable, "-m", "server.gateway", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--upstream-port", str(self.upstream_port)),
            *("--ca", str(tls / "ca.crt")),
            *("--cert", str(tls / "server.crt"), "--key", str(tls / "server.key")),
            *("--state", str(self.state)),
        )
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError(self.log_path.read_text())

    def kill(self) -> None:
        """As the system does when memory is short."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """As an operator does."""
        assert self.process
        self.process.terminate()
        self.process.wait(10)

    def token(self, space: str, right: Right, *, seconds: int = 600) -> str:
        """One that is good unless told otherwise."""
        key = load_key(self.state)
        expires = int(time.time()) + seconds
        token = sign_token(key, site=SITE, space=space, right=right, expires=expires)
        self.tokens.append(token)
        return token

    def connect(self) -> http.client.HTTPSConnection:
        """A new line to it."""
        trusted = ssl.create_default_context(cafile=self.state / "tls" / "ca.crt")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=trusted, timeout=20)

    def call(self, method: str, path: str, token: str, body: bytes = b"", **headers: str) -> Answer:
        """Send one request over a line of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.connect()) as line:
            line.request(method, path, body, {"Authorization": f"Bearer {token}"} | named)
            answer = line.getresponse()
            return answer.status, answer.headers, answer.read()

    def put(self, number: int, first: int, body: bytes, *, space: str = BOX) -> Answer:
        """Leave some bytes of a shard, from the first on."""
        span = f"bytes {first}-{first + len(body) - 1}/{len(SHARD)}"
        token = self.token(space, "leave")
        return self.call("PUT", f"/blobs/{space}/{number}", token, body, Content_Range=span)

    def offset(self, number: int) -> int:
        """What it says is there of a shard."""
        status, headers, _ = self.call("HEAD", f"/blobs/{BOX}/{number}", self.token(BOX, "leave"))
        assert status == 200
        return int(headers["Upload-Offset"])

    def get(self, number: int, *, wanted: str | None = None) -> Answer:
        """Fetch a shard, or some of it."""
        token = self.token(OFFER, "fetch")
        path = f"/blobs/{OFFER}/{number}"
        return (
            self.call("GET", path, token, Range=wanted) if wanted else self.call("GET", path, token)
        )


@contextmanager
def running_gateway(*wrapper: str, limits: str = "") -> Iterator[Gateway]:
    """A gateway with a state folder of its own, in memory where the system has some.

    Args:
        wrapper: what the process is started by.
        limits: content of the file with the limits, if they are not the usual ones.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  a random name below
    with tempfile.TemporaryDirectory(dir=memory) as name:
        state = Path(name) / "state"
        issue_certificate(state / "tls", make_authority(state / "tls"), ("127.0.0.1", "localhost"))
        put_on_roster(state, SITE)
        if limits:
            (state / "gateway.yaml").write_text(limits)
        log_path = Path(name) / "log"
        gateway = Gateway(state=state, port=free_port(), log_path=log_path, wrapper=wrapper)
        gateway.start()
        try:
            yield gateway
        finally:
            gateway.stop()


def put_on_roster(state: Path, site: str) -> None:
    """As an operator does by hand."""
    key = make_node_key(state / "elsewhere" / site, site)
    publish_public_key(key, state / "roster" / f"{site}.pub")


@contextmanager
def opened(gateway: Gateway) -> Iterator[Gateway]:
    """With an open box of three shards, and two shards on offer behind seven other bytes."""
    boxes = Boxes(boxes_path(gateway.state))
    open_box(boxes)
    file = gateway.state / "weights"
    file.write_bytes(b"header:" + SHARD + SHARD[:100])
    Published(published_path(gateway.state)).publish(OFFER, file, 7, [len(SHARD), 100])
    yield gateway
    boxes.forget("")
    Published(published_path(gateway.state)).forget("")


def open_box(boxes: Boxes) -> None:
    """A box for the same shard three times."""
    digest = hashlib.sha256(SHARD).hexdigest()
    boxes.open(BOX, sizes=[len(SHARD)] * 3, digests=[digest] * 3)


def shard_file(gateway: Gateway, number: int) -> Path:
    """Where a shard lies once it is whole."""
    return boxes_path(gateway.state) / BOX / f"{number:06d}"


def upload_offset(answer: Answer) -> tuple[int, int]:
    """Status, and how much is there."""
    return answer[0], int(answer[1]["Upload-Offset"])


def wait_for(condition: Callable[[], bool]) -> None:
    """Look again and again, for a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def begun_put(gateway: Gateway, number: int, body: bytes) -> Iterator[http.client.HTTPSConnection]:
    """A PUT of a whole shard of which only the beginning has been sent."""
    with closing(gateway.connect()) as line:
        line.putrequest("PUT", f"/blobs/{BOX}/{number}")
        line.putheader("Authorization", f"Bearer {gateway.token(BOX, 'leave')}")
        line.putheader("Content-Range", f"bytes 0-{len(SHARD) - 1}/{len(SHARD)}")
        line.putheader("Content-Length", str(len(SHARD)))
        line.endheaders(body)
        yield line


def status_of(line: http.client.HTTPSConnection) -> int:
    """Of the answer that comes next; it is read to its end."""
    answer = line.getresponse()
    answer.read()
    return answer.status
