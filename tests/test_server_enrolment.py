"""Invitations, and the register of members: what is written, what is believed, and what a mistake is told."""

import base64
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from hypothesis import given
from hypothesis import strategies as st

from client.enrolment.certificate import signing_request
from federation.certificates import Authority
from federation.enrolment import CERTIFICATE_HEADER, KEY_HEADER, Refused, header_of
from federation.files import write_file
from federation.invitation import (
    Invitation,
    InvitationUnusable,
    NoSiteName,
    read_invitation,
    site_name,
    spoken,
)
from federation.node_keys import make_node_key
from federation.signing import (
    SigningKeyUnusable,
    load_private,
    make_signing_key,
    public_pem,
    sign,
    verify,
)
from server.enrolment.authority import study_authority
from server.enrolment.certifying import certify, read_request
from server.enrolment.members import Members
from server.enrolment.members_table import members_table, table_text
from server.enrolment.opening import NotOpened, Opening
from server.enrolment.register import NoSuchHospital, enter, revoke, revoked_path
from server.enrolment.renewing import OwnCertificates
from server.enrolment.steps import (
    AlreadyMember,
    AlreadyOpened,
    invite_hospital,
    open_coordinator,
    place_of,
)

Command = Callable[..., tuple[int, str, str]]
OPENING = Opening(host="fedcxr.example", port=8443, listen="0.0.0.0", image_size=512)  # noqa: S104


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a coordinator that was opened."""
    open_coordinator(tmp_path / "state", OPENING, move=False)
    return tmp_path / "state"


@given(
    st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True),
    st.integers(1, 65535),
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)
def test_a_code_says_what_was_put_into_it(
    host: str, port: int, site: str, fingerprint: bytes, secret: bytes
) -> None:
    invitation = Invitation(
        address=f"{host}:{port}", site=site, fingerprint=fingerprint, secret=secret
    )
    code = invitation.code
    assert read_invitation(f" {code[:50]}\n  {code[50:]}\n") == invitation


@given(st.integers(8, 110), st.sampled_from("AZaz09-_"))
def test_a_code_with_another_letter_or_one_less_is_refused(place: int, letter: str) -> None:
    code = Invitation(
        address="fedcxr.example:8443", site="north", fingerprint=bytes(32), secret=bytes(16)
    ).code
    place = min(place, len(code) - 2)
    with pytest.raises(InvitationUnusable, match="copy it again, whole"):
        read_invitation(code[:place] + code[place + 1 :])
    if code[place] != letter:
        with pytest.raises(InvitationUnusable):
            read_invitation(code[:place] + letter + code[place + 1 :])


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("St Mary", "st-mary"),
        ("St. Mary's", "st-marys"),
        ("Hôpital Saint-Étienne", "hopital-saint-etienne"),
        ("  north  ", "north"),
    ],
)
def test_a_hospitals_name_becomes_a_files_name(title: str, name: str) -> None:
    assert site_name(title) == name


@pytest.mark.parametrize("title", ["", "...", "東京", "x" * 41])
def test_a_name_of_which_nothing_is_left_is_refused(title: str) -> None:
    with pytest.raises(NoSiteName, match="type another one"):
        site_name(title)


def test_a_fingerprint_is_read_out_in_eight_groups() -> None:
    assert spoken(bytes(range(32))) == "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f"


def test_opening_again_changes_nothing_and_another_address_must_be_meant(state: Path) -> None:
    before = (state / "tls" / "server.crt").read_bytes(), study_authority(state).public
    open_coordinator(state, OPENING, move=False)
    assert ((state / "tls" / "server.crt").read_bytes(), study_authority(state).public) == before
    moved = Opening(host="new.example", port=8443, listen="127.0.0.1", image_size=512)
    with pytest.raises(AlreadyOpened, match=r"is fedcxr\.example:8443 already"):
        open_coordinator(state, moved, move=False)
    open_coordinator(state, moved, move=True)
    certificate = x509.load_pem_x509_certificate((state / "tls" / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "new.example" in names.get_values_for_type(x509.DNSName)


def test_a_running_coordinator_keeps_the_name_that_init_settled_meanwhile(state: Path) -> None:
    OwnCertificates(state=state, names=("localhost",)).tend()
    certificate = x509.load_pem_x509_certificate((state / "tls" / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "fedcxr.example"]


def test_a_running_coordinator_whose_authority_is_lost_makes_no_other_one(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (state / "tls" / "ca.crt").unlink()
    OwnCertificates(state=state, names=("localhost",)).tend()
    assert not (state / "tls" / "ca.crt").exists()
    assert "is not there any more: restore its folder" in caplog.text


def test_up_listens_where_init_said_unless_something_else_is_typed(
    state: Path, tmp_path: Path
) -> None:
    settled = place_of(state, host=None, port=None, names=["also.example"])
    assert (settled.host, settled.port) == ("0.0.0.0", 8443)  # noqa: S104
    assert {"fedcxr.example", "also.example", "localhost"} <= set(settled.names)
    typed = place_of(state, host="127.0.0.1", port=0, names=())
    assert (typed.host, typed.port) == ("127.0.0.1", 0)
    unsettled = place_of(tmp_path / "other", host=None, port=None, names=())
    assert (unsettled.host, unsettled.port) == ("127.0.0.1", 0)


def test_a_secret_is_not_kept_where_it_could_be_read(state: Path) -> None:
    guest = invite_hospital(state, state / "roster", "North", replace=False)
    kept = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert not any(guest.invitation.secret in content for content in kept)
    assert not any(guest.invitation.secret.hex().encode() in content for content in kept)
    for path in (state / "enrolment").rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_is_invited_before_init_nor_twice_under_one_name(
    state: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotOpened, match=r"fedcxr coordinator init --host NAME"):
        invite_hospital(tmp_path / "other", tmp_path / "roster", "North", replace=False)
    admit(state, tmp_path / "north")
    with pytest.raises(AlreadyMember, match="--replace"):
        invite_hospital(state, state / "roster", "North", replace=False)


def admit(state: Path, folder: Path, *, at: datetime | None = None) -> dict[str, str]:
    """Make north a member; returns the headers of its calls."""
    key = make_node_key(folder, "north")
    request = read_request(signing_request(key.private_path, "any name"))
    authority = Authority(ca_path=state / "tls" / "ca.crt", key_path=state / "tls" / "ca.key")
    certificate = certify(authority, request, "north", now=at)
    public = public_pem(load_private(key.private_path))
    enter(state, state / "roster", "north", public, certificate)
    return {
        KEY_HEADER: base64.b64encode(public).decode(),
        CERTIFICATE_HEADER: header_of(certificate),
    }


def members(state: Path) -> Members:
    return Members(state=state, roster=state / "roster")


def test_the_header_with_a_nodes_key_is_flowers() -> None:
    assert KEY_HEADER == FLEET_HTTP_PUBLIC_KEY_HEADER


def test_a_certificate_counts_until_its_last_second(state: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    headers = admit(state, tmp_path / "north", at=now - timedelta(days=179))
    asked = members(state)
    assert asked.why_refused(headers) is None
    asked.clock = lambda: now + timedelta(days=1)
    assert asked.why_refused(headers) is Refused.EXPIRED


def test_hospitals_admitted_by_hand_need_no_certificate_until_the_coordinator_is_opened(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    key = make_node_key(tmp_path / "north", "north")
    write_file(state / "roster" / "north.pub", key.public_path.read_bytes())
    public = public_pem(load_private(key.private_path))
    headers = {KEY_HEADER: base64.b64encode(public).decode()}
    asked = members(state)
    assert asked.why_refused(headers) is None
    open_coordinator(state, OPENING, move=False)
    asked.look_again()
    assert asked.why_refused(headers) is Refused.UNKNOWN


@pytest.mark.parametrize("key", ["", "!", "AAAA", "A" * 9000, "é"])
def test_a_call_without_a_usable_key_is_nobodys(state: Path, key: str) -> None:
    assert members(state).why_refused({KEY_HEADER: key}) is Refused.UNKNOWN


@pytest.mark.parametrize("certificate", ["", "!", "AAAA", "A" * 9000])
def test_a_certificate_that_cannot_be_read_counts_as_none(
    state: Path, tmp_path: Path, certificate: str
) -> None:
    headers = admit(state, tmp_path / "north") | {CERTIFICATE_HEADER: certificate}
    assert members(state).why_refused(headers) is Refused.UNKNOWN


def test_a_damaged_list_of_revoked_keys_lets_nobody_in(
    state: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    headers = admit(state, tmp_path / "north")
    asked = members(state)
    assert asked.why_refused(headers) is None
    write_file(revoked_path(state), b"{")
    asked.look_again()
    assert asked.why_refused(headers) is Refused.UNKNOWN
    assert "nobody is let in" in caplog.text


def test_tickets_count_for_members_and_those_of_before_a_revocation_never_again(
    state: Path, tmp_path: Path
) -> None:
    admit(state, tmp_path / "north")
    write_file(state / "roster" / "west.pub", b"damaged")
    asked, before = members(state), datetime.now(UTC).timestamp()
    assert asked.why_barred("north", before) is None
    assert asked.why_barred("west", before) is None
    assert asked.why_barred("south", before) is Refused.UNKNOWN
    revoke(state, state / "roster", "north")
    assert asked.why_barred("north", before) is None  # it looks again once a second
    asked.look_again()
    assert asked.why_barred("north", before) is Refused.REVOKED
    admit(state, tmp_path / "again")
    asked.look_again()
    assert asked.why_barred("north", before) is Refused.REVOKED
    assert asked.why_barred("north", datetime.now(UTC).timestamp()) is None
    write_file(revoked_path(state), b"{")
    asked.look_again()
    assert asked.why_barred("west", before) is Refused.UNKNOWN


def test_a_crash_in_the_middle_of_a_revocation_leaves_the_hospital_shut_out(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = admit(state, tmp_path / "north")

    def crash(_: Path, *, missing_ok: bool = False) -> None:
        if not missing_ok:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", crash)
    with pytest.raises(KeyboardInterrupt):
        revoke(state, state / "roster", "north")
    monkeypatch.undo()
    assert (state / "roster" / "north.pub").exists()
    assert members(state).why_refused(headers) is Refused.REVOKED


def test_a_replaced_hospital_has_one_key_wherever_the_old_one_lay(
    state: Path, tmp_path: Path
) -> None:
    old = make_node_key(tmp_path / "old", "north").public_path.read_bytes()
    write_file(state / "roster" / "joined" / "north.pub", old)
    admit(state, tmp_path / "new")
    assert [path.read_bytes() == old for path in (state / "roster").rglob("north.pub")] == [False]


def test_the_roster_says_who_was_seen_and_for_how_long_certificates_last(
    state: Path, tmp_path: Path
) -> None:
    headers = admit(state, tmp_path / "north")
    invite_hospital(state, state / "roster", "East", replace=False)
    write_file(state / "roster" / "west.pub", b"damaged")
    assert members(state).why_refused(headers) is None
    lines = table_text(members_table(state, state / "roster")).splitlines()
    assert lines[0] == "east: invited"
    assert lines[1].startswith("north: member, certificate lasts 179 days, seen ")
    assert lines[2] == "west: unusable key"
    revoke(state, state / "roster", "north")
    assert table_text(members_table(state, state / "roster")).splitlines()[1] == "north: revoked"
    with pytest.raises(NoSuchHospital, match=r"fedcxr coordinator roster"):
        revoke(state, state / "roster", "north")


def test_only_who_holds_a_key_signs_with_it_and_only_what_was_signed_counts(tmp_path: Path) -> None:
    node = load_private(make_node_key(tmp_path / "north", "north").private_path)
    study = make_signing_key(tmp_path / "authority.key")
    assert (
        make_signing_key(tmp_path / "authority.key").private_bytes_raw()
        == study.private_bytes_raw()
    )
    assert stat.S_IMODE((tmp_path / "authority.key").stat().st_mode) == 0o600
    for key, other in ((node, study), (study, node)):
        signature = sign(key, b"plan")
        assert verify(public_pem(key), b"plan", signature)
        assert not verify(public_pem(key), b"plans", signature)
        assert not verify(public_pem(other), b"plan", signature)
        assert not verify(public_pem(key), b"plan", b"")
        assert not verify(b"no key", b"plan", signature)


def test_a_damaged_signing_key_is_not_replaced(tmp_path: Path) -> None:
    write_file(tmp_path / "authority.key", b"damaged")
    with pytest.raises(SigningKeyUnusable, match="restore it from a backup"):
        make_signing_key(tmp_path / "authority.key")


def test_init_says_what_to_type_next_and_again_what_is_settled(
    tmp_path: Path, fedcxr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDCXR_STATE", raising=False)
    code, out, _ = fedcxr("coordinator", "init", "--host", "localhost", "--port", 9443)
    assert (code, len(out.splitlines())) == (0, 3)
    assert "fedcxr coordinator up\n" in out
    assert (tmp_path / "fedcxr-state" / "tls" / "ca.crt").exists()
    code, out, _ = fedcxr("coordinator", "invite", "St Mary", "--json")
    invitation = read_invitation(json.loads(out)["code"])
    assert (invitation.address, invitation.site) == ("localhost:9443", "st-mary")
    code, _, err = fedcxr("coordinator", "init", "--host", "other")
    assert (code, "--move" in err) == (2, True)


def test_a_hospitals_profile_is_found_where_it_lies_or_asked_for(
    tmp_path: Path, fedcxr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDCXR_SITE", raising=False)
    code, _, err = fedcxr("hospital", "status")
    assert (code, "set FEDCXR_SITE" in err) == (2, True)
    (tmp_path / "site.yaml").write_text("nothing: 1\n")
    assert "site.yaml cannot be used" in fedcxr("hospital", "status")[2]
    monkeypatch.setenv("FEDCXR_SITE", "elsewhere.yaml")
    assert "elsewhere.yaml cannot be read" in fedcxr("hospital", "status")[2]


def test_a_request_signed_by_another_key_is_no_request(tmp_path: Path) -> None:
    request = signing_request(make_node_key(tmp_path, "north").private_path, "north")
    content = bytearray(base64.b64decode("".join(request.splitlines()[1:-1])))
    content[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(content)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(ValueError):  # noqa: PT011  the class says it
        read_request(forged)
