"""Every certificate that does not count is refused, each with its own word: hospitals' by a coordinator, its by a node.

The coordinator is real, and so are the calls: they are Flower's, with what this project adds to them.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supernode import node_auth_http_interceptor
from flwr.supernode.fleet_http_client import FleetHttpClient

import client.supernode
import federation.certificates
from client.enrolment.certificate import signing_request
from client.enrolment.join import join
from client.enrolment.presenting import present_certificate
from client.enrolment.renewal import is_due
from client.enrolment.trust import status_of_answer, status_of_failure
from client.node_status import SENTENCES, NodeStatus, read_status
from federation.certificates import (
    Authority,
    Certificate,
    follow_authority,
    issue_certificate,
    make_authority,
)
from federation.files import write_file
from federation.node_keys import NodeKey, make_node_key
from federation.processes import free_port
from federation.signing import load_private, public_pem
from server.enrolment import renewing
from server.enrolment.certifying import certify, read_request
from server.enrolment.opening import Opening
from server.enrolment.register import enter, revoke
from server.enrolment.steps import invite_hospital, open_coordinator
from server.superlink import CoordinatorSettings, serve

pytestmark = [pytest.mark.slow, pytest.mark.federation]

NOW = datetime.now(UTC)
SITE = "north"


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinator:
    """One that runs, opened for hospitals."""

    state: Path
    port: int

    @property
    def authority(self) -> Authority:
        """Of its certificates."""
        return Authority(
            ca_path=self.state / "tls" / "ca.crt", key_path=self.state / "tls" / "ca.key"
        )

    @property
    def roster(self) -> Path:
        """Folder of keys."""
        return self.state / "roster"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hospital:
    """A node's key, and where its certificate and its status are."""

    folder: Path
    key: NodeKey

    @property
    def public(self) -> bytes:
        """PEM."""
        return public_pem(load_private(self.key.private_path))

    def show(self, certificate: x509.Certificate) -> None:
        """From the next call on."""
        write_file(self.folder / "node.crt", certificate.public_bytes(Encoding.PEM))


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    state, port = tmp_path_factory.mktemp("matrix") / "state", free_port()
    opening = Opening(host="localhost", port=port, listen="127.0.0.1", image_size=32)
    open_coordinator(state, opening, move=False)
    (state / "gateway.yaml").write_text("hold_seconds: 0.2\n")  # whoever is shut out hears so soon
    stop, ready = threading.Event(), threading.Event()
    settings = CoordinatorSettings(state_path=state, port=port)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(renewing, "LOOK_SECONDS", 0.5)
        job = pool.submit(serve, settings, ready=lambda _: ready.set(), stop=stop)
        try:
            assert ready.wait(60)
            yield Coordinator(state=state, port=port)
        finally:
            stop.set()
        job.result()


@pytest.fixture(scope="module")
def first_member(
    coordinator: Coordinator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Hospital, x509.Certificate]:
    """A hospital that is connected, and its certificate, which is in force."""
    hospital = hospital_in(tmp_path_factory.mktemp("member"))
    certificate = certified(coordinator.authority, hospital)
    enter(coordinator.state, coordinator.roster, SITE, hospital.public, certificate)
    hospital.show(certificate)
    assert eventually(lambda: status_at(coordinator, hospital) is NodeStatus.REGISTERED)
    return hospital, certificate


@pytest.fixture
def member(coordinator: Coordinator, first_member: tuple[Hospital, x509.Certificate]) -> Hospital:
    """The same as it was at first, until the test changes that."""
    hospital, certificate = first_member
    if not (coordinator.roster / f"{SITE}.pub").exists():
        enter(coordinator.state, coordinator.roster, SITE, hospital.public, certificate)
    hospital.show(certificate)
    return hospital


def hospital_in(folder: Path, name: str = SITE) -> Hospital:
    return Hospital(folder=folder, key=make_node_key(folder, name))


def certified(
    authority: Authority, hospital: Hospital, name: str = SITE, *, at: datetime = NOW
) -> x509.Certificate:
    request = read_request(signing_request(hospital.key.private_path, name))
    return certify(authority, request, name, now=at)


def call(coordinator: Coordinator, hospital: Hospital, trusted: bytes) -> None:
    """What Flower's node does first, with everything that this project adds to it."""
    key = load_private(hospital.key.private_path)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    with pytest.MonkeyPatch.context() as patch:
        kind = node_auth_http_interceptor.NodeAuthHttpInterceptor
        patch.setattr(kind, "intercept", kind.intercept)
        present_certificate(hospital.folder / "node.crt", hospital.folder / "status")
        line = FleetHttpClient.from_server_address(
            f"localhost:{coordinator.port}",
            insecure=False,
            root_certificates=trusted,
            interceptors=[kind(key, key.public_key())],
        )
        with line:
            line.ActivateNode(
                ActivateNodeRequest(public_key=hospital.public, heartbeat_interval=30)
            )


def status_at(
    coordinator: Coordinator, hospital: Hospital, trusted: bytes | None = None
) -> NodeStatus:
    """How the hospital stands by the answer to one call."""
    try:
        call(coordinator, hospital, trusted or coordinator.authority.ca_path.read_bytes())
    except httpx.HTTPStatusError as err:
        return status_of_answer(err.response)
    return NodeStatus.REGISTERED


def eventually(condition: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def shows_an_expired_one(coordinator: Coordinator, member: Hospital) -> None:
    member.show(certified(coordinator.authority, member, at=NOW - timedelta(days=181)))


def shows_one_from_next_week(coordinator: Coordinator, member: Hospital) -> None:
    member.show(certified(coordinator.authority, member, at=NOW + timedelta(days=7)))


def shows_one_of_another_authority(_: Coordinator, member: Hospital) -> None:
    member.show(certified(make_authority(member.folder / "other"), member))


def shows_one_for_another_name(coordinator: Coordinator, member: Hospital) -> None:
    member.show(certified(coordinator.authority, member, "south"))


def shows_that_of_another_hospital(coordinator: Coordinator, member: Hospital) -> None:
    member.show(certified(coordinator.authority, hospital_in(member.folder / "south"), "south"))


def shows_the_coordinators_own(coordinator: Coordinator, member: Hospital) -> None:
    server = (coordinator.state / "tls" / "server.crt").read_bytes()
    member.show(x509.load_pem_x509_certificate(server))


def was_revoked(coordinator: Coordinator, _: Hospital) -> None:
    revoke(coordinator.state, coordinator.roster, SITE)


def shows_none(_: Coordinator, member: Hospital) -> None:
    (member.folder / "node.crt").unlink()


def left_the_roster(coordinator: Coordinator, _: Hospital) -> None:
    (coordinator.roster / f"{SITE}.pub").unlink()


def test_a_coordinator_that_runs_shows_a_certificate_of_its_next_authority_and_members_stay(
    coordinator: Coordinator, member: Hospital
) -> None:
    old = coordinator.authority.ca_path.read_bytes()
    assert end_of(coordinator.state / "tls" / "loopback" / "server.crt") == end_of(
        coordinator.authority.ca_path
    )
    first, _ = federation.certificates.load_authority(coordinator.authority)
    present = follow_authority(coordinator.authority, first)

    def is_shown() -> bool:
        pem = ssl.get_server_certificate(("localhost", coordinator.port))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(present.public_key())  # type: ignore[arg-type]
        shown = x509.load_pem_x509_certificate(pem.encode()).extensions
        return shown.get_extension_for_class(x509.AuthorityKeyIdentifier).value == issuer

    assert eventually(is_shown)
    answered = {NodeStatus.REGISTERED, NodeStatus.UNADMITTED}  # the latter: it is connected already
    assert status_at(coordinator, member, trusted=old) in answered


def end_of(path: Path) -> datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_hospital_whose_clock_is_ten_minutes_off_is_told_so(
    coordinator: Coordinator, member: Hospital, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    wrong = timedelta(minutes=minutes)
    monkeypatch.setattr(node_auth_http_interceptor, "now", lambda: datetime.now(UTC) + wrong)
    assert status_at(coordinator, member) is NodeStatus.CLOCK


def test_a_key_that_is_shown_without_its_other_half_is_refused(
    coordinator: Coordinator, member: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    monkeypatch.setattr(
        node_auth_http_interceptor, "sign_message", lambda _, message: sign_message(other, message)
    )
    assert status_at(coordinator, member) is NodeStatus.SIGNATURE


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (shows_an_expired_one, NodeStatus.EXPIRED),
        (shows_one_from_next_week, NodeStatus.NOT_YET_VALID),
        (shows_one_of_another_authority, NodeStatus.WRONG_AUTHORITY),
        (shows_the_coordinators_own, NodeStatus.WRONG_AUTHORITY),
        (shows_one_for_another_name, NodeStatus.WRONG_NAME),
        (shows_that_of_another_hospital, NodeStatus.OTHER_SITE),
        (shows_none, NodeStatus.UNKNOWN),
        (left_the_roster, NodeStatus.UNKNOWN),
        (was_revoked, NodeStatus.REVOKED),  # last: there is no way back
    ],
)
def test_a_certificate_that_does_not_count_is_refused_with_its_own_word(
    coordinator: Coordinator,
    member: Hospital,
    spoil: Callable[[Coordinator, Hospital], None],
    status: NodeStatus,
) -> None:
    assert status_at(coordinator, member) is not status
    spoil(coordinator, member)
    assert eventually(lambda: status_at(coordinator, member) is status, seconds=3)
    assert read_status(member.folder / "status") is status


def test_a_hospital_that_takes_part_renews_by_itself_and_is_told_when_it_is_shut_out(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    guest = invite_hospital(coordinator.state, coordinator.roster, "Guest", replace=False)
    joined = join(guest.invitation, tmp_path / "guest", data_path=tmp_path)
    hospital = Hospital(
        folder=joined.site.state_path, key=make_node_key(joined.site.state_path, "guest")
    )
    hospital.show(certified(coordinator.authority, hospital, "guest", at=NOW - timedelta(days=160)))
    told: list[str] = []
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        job = pool.submit(
            client.supernode.serve,
            joined.site,
            joined.profile,
            stop=stop,
            on_state=told.append,
        )
        try:
            assert eventually(lambda: "registered" in told, seconds=60)
            assert not is_due(joined.site)
            own = joined.site.state_path / "tls"
            assert end_of(own / "server.crt") == end_of(own / "ca.crt")
            revoke(coordinator.state, coordinator.roster, "guest")
            assert eventually(lambda: SENTENCES[NodeStatus.REVOKED] in told)
        finally:
            stop.set()
        job.result()
    assert told[-1] == "stopped"


@contextmanager
def tls_server(tls: Certificate) -> Iterator[int]:
    """Whoever answers at the coordinator's address, for one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_path, tls.key_path)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        job = pool.submit(shake_hands, listening, context)
        yield listening.getsockname()[1]
        job.result()


def shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    line, _ = listening.accept()
    with line, contextlib.suppress(OSError):  # the caller hangs up, one way or another
        context.wrap_socket(line, server_side=True).recv(1)


@pytest.mark.parametrize(
    ("name", "days", "trusted", "status"),
    [
        ("localhost", -400, "theirs", NodeStatus.COORDINATOR_EXPIRED),
        ("localhost", 7, "theirs", NodeStatus.COORDINATOR_NOT_YET_VALID),
        ("elsewhere.example", 0, "theirs", NodeStatus.COORDINATOR_WRONG_NAME),
        ("localhost", 0, "another", NodeStatus.UNTRUSTED),
    ],
)
def test_a_coordinator_whose_certificate_does_not_count_is_not_spoken_to(
    tmp_path: Path, name: str, days: int, trusted: str, status: NodeStatus
) -> None:
    authorities = {each: make_authority(tmp_path / each) for each in ("theirs", "another")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(federation.certificates, "datetime", Clock(timedelta(days=days)))
        patch.setattr(federation.certificates, "load_authority", loaded(authorities["theirs"]))
        tls = issue_certificate(tmp_path / "server", authorities["theirs"], [name])
    with tls_server(tls) as port:
        line = FleetHttpClient.from_server_address(
            f"localhost:{port}",
            insecure=False,
            root_certificates=authorities[trusted].ca_path.read_bytes(),
            interceptors=[],
        )
        with line, pytest.raises(httpx.ConnectError) as failure:
            line.ActivateNode(ActivateNodeRequest())
    assert status_of_failure(failure.value) is status


@dataclass(frozen=True, slots=True)
class Clock:
    """Stands for `datetime` in the module that makes certificates."""

    shift: timedelta

    def now(self, zone: object) -> datetime:
        """Another time."""
        assert zone is UTC
        return NOW + self.shift


def loaded(authority: Authority) -> Callable[[Authority], object]:
    """The authority as it is, whatever the time."""
    pair = federation.certificates.load_authority(authority)
    return lambda _: pair


def test_every_refusal_has_a_sentence_of_its_own_that_says_what_to_do() -> None:
    waiting = [s for status, s in SENTENCES.items() if s.startswith("waiting: ")]
    assert len(set(waiting)) == len(waiting) >= 13
