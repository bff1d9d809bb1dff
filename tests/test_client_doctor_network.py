"""The way to the coordinator, over real TLS with each fault, through real proxies: each has its own sentence and owner."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from client.config import SiteConfig
from client.doctor.certificates import own_certificate
from client.doctor.checks import CHECKS
from client.doctor.hospital import hospital_of
from client.enrolment.certificate import signing_request
from federation.certificates import Authority, make_authority
from federation.diagnosis import Finding, Job, Verdict, examine
from federation.enrolment import CERTIFICATE_NAME
from federation.node_keys import make_node_key
from server.enrolment.certifying import certify, read_request
from tests.faults.blob_server import hospital
from tests.faults.public_port import DAY, PublicPort, Signer, signer, write_certificate
from tests.faults.tiny_proxy import TinyProxy

OF_THE_LINE = frozenset(
    {
        *("name", "proxy", "port", "tls", "interception", "certificate", "authority"),
        *("clock", "health", "protocol"),
    }
)
Looked = Mapping[str, Finding]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy in the environment, except what a test puts there."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def pinned() -> Signer:
    """The authority that the hospital knows."""
    return signer("fedcxr authority")


@pytest.fixture
def site(tmp_path: Path, pinned: Signer) -> Callable[[int], SiteConfig]:
    """Makes a hospital that knows a coordinator on localhost, at this port."""
    pinned.write(tmp_path / "ca.crt")
    return lambda port: hospital(tmp_path, port)


def look(site: SiteConfig) -> Looked:
    """Every finding about the line."""
    checks = [check for check in CHECKS if check.name in OF_THE_LINE]
    examined = examine(hospital_of(site, Path("site.yaml"), None), checks)
    return {each.name: each.finding for each in examined}


@pytest.fixture
def behind(
    tmp_path: Path, pinned: Signer, site: Callable[[int], SiteConfig]
) -> Callable[..., Looked]:
    """Looks at a port with such a certificate; other keywords are the port's."""

    def build(
        by: Signer = pinned,
        *,
        certificate: Mapping[str, Any] | None = None,
        **port: Any,  # noqa: ANN401
    ) -> Looked:
        shown = write_certificate(tmp_path, by, **(certificate or {}))
        with PublicPort(shown, **port) as running:
            return look(site(running.port))

    return build


def not_ok(looked: Looked) -> dict[str, Job]:
    """What needs somebody, and whom."""
    needs = {Verdict.WARN, Verdict.FAIL}
    return {name: each.job for name, each in looked.items() if each.verdict in needs}


def test_a_line_that_is_well_has_nothing_to_mend(behind: Callable[..., Looked]) -> None:
    looked = behind()
    assert set(looked) == OF_THE_LINE
    assert {each.verdict for each in looked.values()} == {Verdict.OK}


@pytest.mark.parametrize(
    ("certificate", "word"),
    [
        ({"begins": -30 * DAY, "ends": -2 * DAY}, "expired"),
        ({"begins": 2 * DAY}, "not valid yet"),
        ({"names": ("elsewhere.example",)}, "not for localhost"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_the_coordinators_to_mend(
    behind: Callable[..., Looked], certificate: Mapping[str, object], word: str
) -> None:
    looked = behind(certificate=certificate)
    assert looked["tls"].verdict is Verdict.FAIL
    assert word in looked["tls"].sentence
    assert set(not_ok(looked).values()) == {Job.COORDINATOR}
    assert looked["interception"].verdict is Verdict.OK
    assert looked["clock"].verdict is Verdict.OK


def test_a_box_that_opens_the_line_is_named_with_its_issuer(behind: Callable[..., Looked]) -> None:
    looked = behind(signer("Corporate \x1b[31mInspection CA"))
    found = looked["interception"]
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.NETWORK)
    assert '"Corporate ?[31mInspection CA"' in found.sentence
    assert "exempt localhost:" in found.next_step


def test_a_new_authority_of_the_same_name_is_no_box_in_between(
    behind: Callable[..., Looked],
) -> None:
    found = behind(signer("fedcxr authority"))["interception"]
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.COORDINATOR)
    assert "another key" in found.sentence


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (timedelta(minutes=10), Verdict.FAIL, "10 minutes behind"),
        (timedelta(minutes=-10), Verdict.FAIL, "10 minutes ahead of"),
        (timedelta(seconds=60), Verdict.WARN, "60 s behind"),
        (timedelta(seconds=5), Verdict.OK, "agree"),
    ],
)
def test_clocks_that_differ_are_noticed_by_what_the_coordinator_says(
    behind: Callable[..., Looked], ahead: timedelta, verdict: Verdict, words: str
) -> None:
    found = behind(ahead=ahead)["clock"]
    assert found.verdict is verdict
    assert words in found.sentence
    assert found.job is (Job.NOBODY if verdict is Verdict.OK else Job.MACHINE)


def test_a_certificate_that_only_a_wrong_clock_finds_expired_is_blamed_on_the_clock(
    behind: Callable[..., Looked],
) -> None:
    """As on a machine whose clock is three days ahead of everybody's."""
    looked = behind(certificate={"begins": -30 * DAY, "ends": -1 * DAY}, ahead=-3 * DAY)
    assert (looked["tls"].verdict, looked["tls"].job) == (Verdict.FAIL, Job.MACHINE)
    assert looked["clock"].verdict is Verdict.FAIL


def test_a_certificate_near_its_end_is_a_warning(behind: Callable[..., Looked]) -> None:
    looked = behind(certificate={"ends": 10 * DAY})
    assert not_ok(looked) == {"certificate": Job.COORDINATOR}
    assert "9 more days" in looked["certificate"].sentence


@pytest.mark.parametrize(
    ("port", "name", "owner"),
    [
        ({"status": 503}, "health", Job.COORDINATOR),
        ({"status": 429}, "health", Job.DATA_MANAGER),
        ({"protocol": "4"}, "protocol", Job.DATA_MANAGER),
        ({"newest_tls": ssl.TLSVersion.TLSv1_2}, "tls", Job.NETWORK),
    ],
)
def test_what_is_behind_the_certificate_has_its_own_sentence(
    behind: Callable[..., Looked], port: Mapping[str, object], name: str, owner: Job
) -> None:
    assert not_ok(behind(**port)) == {name: owner}


def test_nothing_but_a_look_at_its_health_is_ever_asked_of_a_port(
    tmp_path: Path, site: Callable[[int], SiteConfig]
) -> None:
    shown = write_certificate(tmp_path, signer("somebody"))
    with PublicPort(shown) as running:
        look(site(running.port))
        asked = [each for each in running.asked if each]
    host = f"Host: localhost:{running.port}"
    assert asked == [f"GET /healthz HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode()]


def test_a_port_that_cuts_the_line_and_one_that_speaks_no_tls_are_told_apart(
    site: Callable[[int], SiteConfig],
) -> None:
    with PublicPort(None) as cutting:
        assert not_ok(look(site(cutting.port))) == {"tls": Job.NETWORK}
    with plain_port() as port:
        assert not_ok(look(site(port))) == {"tls": Job.COORDINATOR}


def test_a_closed_port_is_the_coordinators_and_an_unknown_name_the_networks(
    site: Callable[[int], SiteConfig],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    looked = look(site(port))
    assert not_ok(looked) == {"port": Job.COORDINATOR}
    assert f"localhost:{port}" in looked["port"].sentence
    unknown = look(replace(site(port), coordinator=f"no-such-host.invalid:{port}"))
    assert not_ok(unknown) == {"name": Job.NETWORK}


def test_without_the_authoritys_file_the_rest_of_the_way_is_still_looked_at(
    tmp_path: Path, pinned: Signer
) -> None:
    with PublicPort(write_certificate(tmp_path, pinned), ahead=timedelta(minutes=10)) as running:
        looked = look(hospital(tmp_path, running.port))
    assert {"port", "name"}.isdisjoint(not_ok(looked))
    assert looked["authority"].verdict is looked["clock"].verdict is Verdict.FAIL
    assert looked["interception"].verdict is Verdict.SKIPPED


def test_the_coordinator_is_seen_through_the_proxy(
    tmp_path: Path,
    pinned: Signer,
    site: Callable[[int], SiteConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = TinyProxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
    with PublicPort(write_certificate(tmp_path, pinned)) as running:
        looked = look(site(running.port))
    proxy.close()
    assert not_ok(looked) == {}
    assert f"127.0.0.1:{proxy.port} lets this machine through" in looked["proxy"].sentence
    assert not any("secret" in each.sentence + each.next_step for each in looked.values())
    assert proxy.asked[0].startswith("CONNECT localhost:")


@pytest.mark.parametrize(
    ("answer", "word"), [("407 Authenticate", "password"), ("403 No", "CONNECT"), ("x", "HTTP")]
)
def test_a_proxy_that_does_not_let_through_is_the_networks(
    site: Callable[[int], SiteConfig], monkeypatch: pytest.MonkeyPatch, answer: str, word: str
) -> None:
    begins = "" if answer == "x" else "HTTP/1.1 "
    proxy = TinyProxy(f"{begins}{answer}\r\n\r\n".encode())
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    looked = look(site(9))
    proxy.close()
    assert not_ok(looked) == {"proxy": Job.NETWORK}
    assert word in looked["proxy"].sentence + looked["proxy"].next_step


def test_a_proxy_that_is_not_there_or_of_another_kind_is_the_networks(
    site: Callable[[int], SiteConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    assert not_ok(look(site(9))) == {"proxy": Job.NETWORK}
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@127.0.0.1:1080")
    looked = look(site(9))
    assert not_ok(looked) == {"proxy": Job.NETWORK}
    assert not any("secret" in each.sentence for each in looked.values())


@contextmanager
def plain_port() -> Iterator[int]:
    """Answers in plain HTTP, whatever is said."""

    def answer() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(4096)
            caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def enrolled(folder: Path, name: str, *, issuer: Authority) -> None:
    """A hospital's key, and a certificate for it under this name."""
    key = make_node_key(folder, "a")
    request = read_request(signing_request(key.private_path, name))
    certificate = certify(issuer, request, name)
    (folder / CERTIFICATE_NAME).write_bytes(certificate.public_bytes(Encoding.PEM))


def test_the_hospitals_own_certificate_is_looked_at(tmp_path: Path) -> None:
    issuer = make_authority(tmp_path)
    asked = hospital_of(hospital(tmp_path, 9), Path("site.yaml"), None)
    assert own_certificate(asked).verdict is Verdict.SKIPPED
    enrolled(tmp_path, "a", issuer=issuer)
    assert own_certificate(asked).verdict is Verdict.OK
    enrolled(tmp_path, "b", issuer=issuer)
    assert "another name" in own_certificate(asked).sentence
    enrolled(tmp_path, "a", issuer=make_authority(tmp_path / "other"))
    found = own_certificate(asked)
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.COORDINATOR)
    assert "wrong-authority" in found.sentence
