"""What ends is renewed while everything runs: the certificate of the public port, and the authority that signs it."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from client.doctor.certificates import authority_days, own_certificate
from client.doctor.hospital import hospital_of
from client.enrolment.certificate import read_certificate
from client.enrolment.join import Joined, join
from client.enrolment.renewal import renew, renewing
from client.evidence.log import entries
from federation import certificates
from federation.certificates import Authority, issue_certificate, load_authority
from federation.diagnosis import Verdict
from federation.enrolment import CERTIFICATE_NAME
from federation.invitation import Invitation
from server.blobs.published import Published, published_path
from server.enrolment.opening import Opening
from server.enrolment.renewing import OwnCertificates
from server.enrolment.steps import invite_hospital, open_coordinator
from tests.faults.gateway_process import OFFER, Gateway, running_gateway, wait_for
from tests.faults.raw_line import RawLine

pytestmark = pytest.mark.slow

NAMES = ("localhost", "127.0.0.1")
FILE_BYTES = 2**24
"""More than the system takes ahead of a caller that reads nothing."""
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """The public port of a coordinator that was opened, without the rest of it."""
    with running_gateway() as running:
        opening = Opening(host="localhost", port=running.port, listen="127.0.0.1", image_size=64)
        open_coordinator(running.state, opening, move=False)
        yield running


@pytest.fixture
def authority(gateway: Gateway) -> Authority:
    folder = gateway.state / "tls"
    return Authority(ca_path=folder / "ca.crt", key_path=folder / "ca.key")


def shown(gateway: Gateway, ca_path: Path | None = None) -> int:
    """Serial number of the certificate that a new caller sees and accepts."""
    trusted = ca_path or gateway.state / "tls" / "ca.crt"
    with RawLine(gateway.port, trusted, source="127.0.0.1") as line:
        return int(str(line.serial_number()), 16)


def on_disk(gateway: Gateway) -> int:
    """Serial number of the certificate in the port's file."""
    return in_file(gateway.state / "tls" / "server.crt")[0].serial_number


def take_up(gateway: Gateway, ca_path: Path | None = None) -> None:
    """Wait until new callers see what is on the disk."""
    wait_for(lambda: shown(gateway, ca_path) == on_disk(gateway))


def tend(gateway: Gateway) -> None:
    """What a running coordinator does once a minute."""
    OwnCertificates(state=gateway.state, names=NAMES).tend()


def in_file(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_a_port_whose_certificate_ends_soon_shows_a_new_one_and_what_moves_goes_on(
    gateway: Gateway, authority: Authority
) -> None:
    folder = gateway.state / "tls"
    (folder / "server.crt").unlink()
    issue_certificate(folder, authority, NAMES, life=timedelta(days=20))
    take_up(gateway)
    ending = shown(gateway)
    file = gateway.state / "weights"
    file.write_bytes(bytes(range(256)) * (FILE_BYTES // 256))
    Published(published_path(gateway.state)).publish(OFFER, file, 0, [FILE_BYTES])
    headers = {"Authorization": f"Bearer {gateway.token(OFFER, 'fetch')}"}
    with closing(gateway.connect()) as line:
        line.request("GET", f"/blobs/{OFFER}/0", headers=headers)
        answer = line.getresponse()
        received = answer.read(1000)
        tend(gateway)
        assert on_disk(gateway) != ending
        take_up(gateway)
        received += answer.read()
        assert received == file.read_bytes()
        line.request("GET", "/enrol/ca")
        assert line.getresponse().status == 200
    renewed = on_disk(gateway)
    tend(gateway)
    assert on_disk(gateway) == renewed


def test_hospitals_follow_the_authority_by_its_word_and_old_codes_and_certificates_stay_good(
    gateway: Gateway, authority: Authority, tmp_path: Path, fedcxr: Command
) -> None:
    def invite(title: str) -> Invitation:
        return invite_hospital(
            gateway.state, gateway.state / "roster", title, replace=False
        ).invitation

    def joined(title: str, invitation: Invitation | None = None) -> Joined:
        return join(invitation or invite(title), tmp_path / title, data_path=tmp_path)

    north, south, early = joined("north"), joined("south"), invite("east")
    old = in_file(authority.ca_path)
    (tmp_path / "old.crt").write_bytes(authority.ca_path.read_bytes())
    code, out, _ = fedcxr("coordinator", "next-authority", "--state", gateway.state)
    assert code == 0
    assert "in force until 20" in out
    take_up(gateway, tmp_path / "old.crt")
    present, _ = load_authority(authority)
    assert in_file(authority.ca_path) == [present, *old]

    assert in_file(north.site.ca_path) == old
    renew(north.site)
    with renewing(south.site):
        wait_for(lambda: in_file(south.site.ca_path) == [present, *old])
    assert in_file(north.site.ca_path) == [present, *old]
    assert events(north) == ["joined", "authority-followed", "renewed"]
    assert events(south) == ["joined", "authority-followed"]
    east, west = joined("east", early), joined("west")
    assert in_file(east.site.ca_path) == [present, *old]
    assert in_file(west.site.ca_path) == [present]
    for each in (north, east, west):
        certificate = read_certificate(each.site.state_path / CERTIFICATE_NAME)
        assert certificate is not None
        certificate.verify_directly_issued_by(present)
    with_old = hospital_of(south.site, south.profile, None)
    assert own_certificate(with_old).verdict is authority_days(with_old).verdict is Verdict.OK


def events(member: Joined) -> list[str]:
    return [str(entry.event) for entry in entries(member.site.state_path)]


def test_an_authority_that_does_not_vouch_is_not_followed(
    gateway: Gateway, authority: Authority, tmp_path: Path
) -> None:
    invitation = invite_hospital(
        gateway.state, gateway.state / "roster", "far", replace=False
    ).invitation
    far = join(invitation, tmp_path / "far", data_path=tmp_path)
    trusted = far.site.ca_path.read_bytes()
    stranger = certificates.make_authority(tmp_path / "stranger")
    real = authority.ca_path.read_bytes()
    authority.ca_path.write_bytes(real + stranger.ca_path.read_bytes())
    renew(far.site)
    authority.ca_path.write_bytes(real)
    assert far.site.ca_path.read_bytes() == trusted
    assert "authority-followed" not in events(far)


def test_nobody_but_a_holder_of_the_authoritys_certificate_is_asked_who_follows(
    gateway: Gateway, tmp_path: Path
) -> None:
    stranger = certificates.make_authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(gateway, stranger.ca_path)
