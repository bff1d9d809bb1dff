"""A hospital joins through a real public port: what it gets, what it is refused, and what it never sends or loses."""

import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.enrolment.certificate import read_certificate, signing_request
from client.enrolment.join import Joined, join
from client.enrolment.kit import filled
from client.enrolment.refusals import (
    CannotReach,
    NewerKit,
    NoRadiographs,
    NotAdmitted,
    NotTheCoordinator,
    OtherHospital,
    Untrusted,
)
from client.enrolment.renewal import is_due, renew, renewing
from client.evidence.log import entries
from client.privacy_policy import load_policy
from federation.enrolment import CERTIFICATE_NAME, RENEW_BEFORE, site_of
from federation.files import write_file
from federation.invitation import Invitation
from federation.processes import free_port
from server.enrolment.admitting import Admission
from server.enrolment.authority import study_authority
from server.enrolment.certifying import certify, read_request
from server.enrolment.members_table import members_table
from server.enrolment.opening import Opening
from server.enrolment.register import certificate_of, revoke
from server.enrolment.steps import invite_hospital, open_coordinator
from tests.faults.gateway_process import Gateway, running_gateway, wait_for
from tests.faults.tiny_proxy import TinyProxy

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinator:
    """A public port with a coordinator's folder behind it."""

    gateway: Gateway

    @property
    def state(self) -> Path:
        """Its folder."""
        return self.gateway.state

    @property
    def roster(self) -> Path:
        """Folder of keys."""
        return self.state / "roster"

    def invite(self, title: str = "St Mary", *, replace: bool = False) -> Invitation:
        """What it would send by e-mail."""
        return invite_hospital(self.state, self.roster, title, replace=replace).invitation

    def certify(self, joined: Joined, *, at: datetime) -> x509.Certificate:
        """Another certificate for a member, as if it were that time."""
        site = joined.site
        request = read_request(signing_request(site.state_path / "node.key", site.site_name))
        authority = Admission(state=self.state, roster=self.roster).certificates
        return certify(authority, request, site.site_name, now=at)


@pytest.fixture(scope="module")
def coordinator() -> Iterator[Coordinator]:
    with running_gateway() as gateway:
        opening = Opening(host="localhost", port=gateway.port, listen="127.0.0.1", image_size=64)
        open_coordinator(gateway.state, opening, move=False)
        yield Coordinator(gateway=gateway)


@pytest.fixture(autouse=True)
def nobody(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins with an empty roster, and on the direct way."""
    monkeypatch.setenv("NO_PROXY", "localhost")
    yield
    for row in members_table(coordinator.state, coordinator.roster):
        if row.state == "member":
            revoke(coordinator.state, coordinator.roster, row.site)


@pytest.fixture
def member(coordinator: Coordinator, tmp_path: Path) -> Joined:
    return join(coordinator.invite(), tmp_path / "st-mary", data_path=tmp_path / "data")


def test_a_hospital_that_joins_has_a_certificate_a_profile_and_a_policy(
    coordinator: Coordinator, tmp_path: Path, member: Joined
) -> None:
    site, folder = member.site, tmp_path / "st-mary"
    assert (site.site_name, site.image_size) == ("st-mary", 64)
    assert site.coordinator == f"localhost:{coordinator.gateway.port}"
    assert site.ca_path.read_bytes() == (coordinator.state / "tls" / "ca.crt").read_bytes()
    assert site.authority_path is not None
    assert site.privacy_path is not None
    assert site.authority_path.read_bytes() == study_authority(coordinator.state).public
    assert load_policy(site.privacy_path).data_set == "st-mary"
    certificate = read_certificate(site.state_path / CERTIFICATE_NAME)
    assert certificate is not None
    assert site_of(certificate) == "st-mary"
    assert [entry.event for entry in entries(site.state_path)] == ["joined"]
    assert json.loads((folder / "kit.json").read_text())["version"] == 1


def test_the_secret_key_is_its_owners_and_never_at_the_coordinator(
    coordinator: Coordinator, member: Joined
) -> None:
    key = member.site.state_path / "node.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    private = key.read_bytes().splitlines()[3]
    kept = [path.read_bytes() for path in coordinator.state.rglob("*") if path.is_file()]
    assert (coordinator.roster / "st-mary.pub").read_bytes() in kept
    assert not any(private in content for content in kept)


def test_a_code_admits_one_key_and_that_key_again(coordinator: Coordinator, tmp_path: Path) -> None:
    invitation = coordinator.invite()
    first = join(invitation, tmp_path / "a", data_path=tmp_path)
    again = join(invitation, tmp_path / "a")
    assert again.site == first.site
    with pytest.raises(NotAdmitted, match="was used by another machine"):
        join(invitation, tmp_path / "b", data_path=tmp_path)
    assert not (tmp_path / "b" / "site.yaml").exists()


def test_only_the_last_code_of_a_hospital_counts(coordinator: Coordinator, tmp_path: Path) -> None:
    first = coordinator.invite()
    second = coordinator.invite()
    with pytest.raises(NotAdmitted, match="has given out a newer one"):
        join(first, tmp_path / "a", data_path=tmp_path)
    assert join(second, tmp_path / "a", data_path=tmp_path).site.site_name == "st-mary"


def test_a_code_counts_for_72_hours(coordinator: Coordinator, tmp_path: Path) -> None:
    invitation = coordinator.invite()
    (path,) = (coordinator.state / "enrolment" / "invitations").glob("*.json")
    content = json.loads(path.read_text())
    expires = datetime.fromisoformat(content["expires"])
    assert abs(expires - datetime.now(UTC) - timedelta(hours=72)) < timedelta(minutes=1)
    write_file(path, json.dumps(content | {"expires": str(datetime.now(UTC))}).encode())
    with pytest.raises(NotAdmitted, match="older than 72 hours"):
        join(invitation, tmp_path, data_path=tmp_path)


def test_nothing_is_sent_to_an_authority_that_the_code_does_not_name(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    invitation = coordinator.invite()
    changed = replace(invitation, fingerprint=bytes(32))
    with pytest.raises(NotTheCoordinator, match="Nothing was sent"):
        join(changed, tmp_path / "a", data_path=tmp_path)
    assert not (tmp_path / "a").exists()
    assert join(invitation, tmp_path / "a", data_path=tmp_path).site.site_name == "st-mary"


def test_the_port_must_be_of_the_name_that_the_code_says(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    invitation = coordinator.invite()
    elsewhere = replace(invitation, address=f"127.0.0.2:{coordinator.gateway.port}")
    with pytest.raises(CannotReach, match=r"`fedcxr coordinator up` runs"):
        join(replace(invitation, address=f"localhost:{free_port()}"), tmp_path, data_path=tmp_path)
    with pytest.raises((Untrusted, CannotReach)):
        join(elsewhere, tmp_path, data_path=tmp_path)


def test_a_hospital_joins_through_a_proxy_that_its_profile_then_names(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY")
    proxy = TinyProxy(b"HTTP/1.1 200 Connection established\r\n\r\n")
    named = f"http://127.0.0.1:{proxy.port}"
    joined = join(coordinator.invite(), tmp_path, data_path=tmp_path, proxy=named)
    proxy.close()
    assert joined.site.proxy == named
    assert len(proxy.asked) == 2
    assert all(f"CONNECT localhost:{coordinator.gateway.port} " in head for head in proxy.asked)


def test_a_folder_is_one_hospitals_and_its_own_files_stay(
    coordinator: Coordinator, tmp_path: Path, member: Joined
) -> None:
    folder = tmp_path / "st-mary"
    with pytest.raises(OtherHospital, match="site_name: st-mary, but the code is for east"):
        join(coordinator.invite("East"), folder)
    policy = (folder / "policy.yaml").read_text().replace("max_epsilon: 8.0", "max_epsilon: 2.0")
    write_file(folder / "policy.yaml", policy.encode())
    join(coordinator.invite(replace=True), folder)
    assert member.site.privacy_path is not None
    assert load_policy(member.site.privacy_path).max_epsilon == 2.0


def test_a_folder_of_a_newer_release_is_left_alone(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    write_file(tmp_path / "kit.json", b'{"version": 2}')
    with pytest.raises(NewerKit, match="newer release"):
        join(coordinator.invite(), tmp_path, data_path=tmp_path)


def test_a_hospital_must_say_where_its_radiographs_are(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    with pytest.raises(NoRadiographs, match="--data FOLDER"):
        join(coordinator.invite(), tmp_path)


def test_a_certificate_is_renewed_for_the_same_key_a_month_before_it_ends(
    coordinator: Coordinator, member: Joined
) -> None:
    assert not is_due(member.site)
    begun = datetime.now(UTC) - timedelta(days=160)
    show(member, coordinator.certify(member, at=begun))
    assert is_due(member.site)
    with renewing(member.site):
        wait_for(lambda: not is_due(member.site))
    renewed = read_certificate(member.site.state_path / CERTIFICATE_NAME)
    assert renewed is not None
    assert renewed == certificate_of(coordinator.state, "st-mary")
    assert renewed.not_valid_after_utc - datetime.now(UTC) > 5 * RENEW_BEFORE
    assert [entry.event for entry in entries(member.site.state_path)] == ["joined", "renewed"]


def test_a_certificate_that_is_over_is_not_renewed(
    coordinator: Coordinator, member: Joined
) -> None:
    show(member, coordinator.certify(member, at=datetime.now(UTC) - timedelta(days=181)))
    assert not is_due(member.site)
    with pytest.raises(NotAdmitted, match="certificate has expired"):
        renew(member.site)


def test_a_hospital_that_was_shut_out_comes_back_with_a_new_key_alone(
    coordinator: Coordinator, tmp_path: Path, member: Joined
) -> None:
    revoke(coordinator.state, coordinator.roster, "st-mary")
    invitation = coordinator.invite()
    with pytest.raises(NotAdmitted, match=r"remove node\.key"):
        join(invitation, tmp_path / "st-mary")
    (member.site.state_path / "node.key").unlink()
    assert join(invitation, tmp_path / "st-mary").site == member.site


def test_a_key_that_is_another_hospitals_is_not_admitted(
    coordinator: Coordinator, tmp_path: Path, member: Joined
) -> None:
    key = member.site.state_path / "node.key"
    write_file(tmp_path / "east" / "state" / "node.key", key.read_bytes())
    with pytest.raises(NotAdmitted, match="belongs to another hospital"):
        join(coordinator.invite("East"), tmp_path / "east", data_path=tmp_path)


def show(member: Joined, certificate: x509.Certificate) -> None:
    path = member.site.state_path / CERTIFICATE_NAME
    write_file(path, certificate.public_bytes(Encoding.PEM))


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("GET", b"", 404),
        ("POST", b"", 403),
        ("POST", b"not json", 403),
        ("POST", b'{"version": 1, "secret": "zz", "request": "x"}', 403),
        ("POST", b'{"version": 1, "secret": "00", "request": "x", "more": 1}', 403),
        ("POST", b'{"version": 9}', 403),
        ("POST", b"[" * 60000, 403),
        ("POST", bytes(2**16 + 1), 413),
    ],
)
def test_whoever_has_no_code_gets_nothing_but_a_refusal(
    coordinator: Coordinator, verb: str, body: bytes, status: int
) -> None:
    before = list(coordinator.roster.iterdir())
    for path in ("/enrol/join", "/enrol/renew"):
        found, _, answer = coordinator.gateway.call(verb, path, "none", body)
        assert found in {status, 403}
        assert len(answer) < 40
    assert list(coordinator.roster.iterdir()) == before


def test_a_filled_example_keeps_its_comments_and_quotes_what_yaml_would_read_otherwise() -> None:
    example = "site_name: st-elsewhere   # its name\n# proxy: http://x   # default: none\n#   proxy: nested\n"
    assert filled(example, {"site_name": "007", "proxy": "p:1"}) == (
        'site_name: "007"   # its name\nproxy: "p:1"   # default: none\n#   proxy: nested\n'
    )


Command = Callable[..., tuple[int, str, str]]


def test_the_four_commands_of_joining_speak_to_people_and_to_programs(
    coordinator: Coordinator, tmp_path: Path, fedcxr: Command
) -> None:
    state = ("--state", coordinator.state)
    code, out, _ = fedcxr("coordinator", "invite", "St. Mary's", *state, "--json")
    facts = json.loads(out)
    assert (code, facts["site"]) == (0, "st-marys")
    folder = tmp_path / "kit"
    code, out, _ = fedcxr("hospital", "join", facts["code"], "--data", tmp_path, "--folder", folder)
    assert code == 0
    assert facts["fingerprint"] in out
    assert f"hospital up {folder}/site.yaml" in out
    code, out, _ = fedcxr("coordinator", "roster", *state)
    assert "st-marys: member, certificate lasts 179 days, never seen\n" in out
    code, out, _ = fedcxr("hospital", "renew", folder / "site.yaml")
    assert code == 0
    assert out.startswith("st-marys: the certificate is in force until 20")
    assert fedcxr("coordinator", "revoke", "st-marys", *state)[0] == 0
    code, out, _ = fedcxr("coordinator", "roster", *state)
    assert "st-marys: revoked\n" in out
    code, _, err = fedcxr("hospital", "renew", folder / "site.yaml")
    assert (code, "remove node.key from the state folder" in err) == (2, True)
