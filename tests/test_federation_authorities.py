"""One authority follows another: whoever believes only the old one goes on, and comes to believe the next by its word."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384

from federation import certificates
from federation.authorities import followed
from federation.certificates import (
    OVERLAP,
    Authority,
    AuthorityUnusable,
    follow_authority,
    issue_certificate,
    load_authority,
    make_authority,
)
from federation.files import write_file
from federation.pem import certificates_pem, keys_in

NAMES = ("localhost",)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


def follow(authority: Authority) -> x509.Certificate:
    return follow_authority(authority, load_authority(authority)[0])


def read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes()) if path.exists() else []


def shown(authority: Authority) -> list[x509.Certificate]:
    """As the coordinator shows them to everybody."""
    return read(authority.ca_path) + read(authority.vouchers_path)


def accepts(trusted: list[x509.Certificate], folder: Path) -> bool:
    """Whether a caller that believes these, and nothing else, shakes hands with the server of a folder."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(folder / "server.crt", folder / "server.key")
    trusting = ssl.create_default_context(cadata=certificates_pem(trusted).decode())
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = own.wrap_bio(there, back, server_side=True)
    client = trusting.wrap_bio(back, there, server_hostname="localhost")
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return client.version() == "TLSv1.3"


def test_whoever_believes_only_the_old_authority_accepts_a_server_of_the_next(
    tmp_path: Path, authority: Authority
) -> None:
    first = read(authority.ca_path)
    issue_certificate(tmp_path, authority, NAMES)
    second, third = follow(authority), follow(authority)
    issue_certificate(tmp_path, authority, NAMES)
    assert len({each.public_key().public_numbers() for each in [*first, second, third]}) == 3  # type: ignore[union-attr]
    for trusted in (first, [second], [third], read(authority.ca_path)):
        assert accepts(trusted, tmp_path)
    assert not accepts(read(make_authority(tmp_path / "other").ca_path), tmp_path)


def test_a_server_of_the_old_authority_is_accepted_by_whoever_believes_both(
    tmp_path: Path, authority: Authority
) -> None:
    issue_certificate(tmp_path, authority, NAMES)
    following = follow(authority)
    assert accepts(read(authority.ca_path), tmp_path)
    assert not accepts([following], tmp_path)


def test_the_next_authority_is_believed_by_the_word_of_one_that_is(authority: Authority) -> None:
    first = read(authority.ca_path)
    assert followed(first, shown(authority)) == first
    second = follow(authority)
    third = follow(authority)
    assert followed(first, shown(authority)) == [third, second, *first]
    assert followed([second], shown(authority)) == [third, second]
    assert followed([third], shown(authority)) == [third]


def test_nobody_is_believed_by_a_word_of_his_own_or_of_who_is_no_authority(
    tmp_path: Path, authority: Authority
) -> None:
    held = read(authority.ca_path)
    stranger = make_authority(tmp_path / "stranger")
    follow(stranger)
    assert followed(held, shown(stranger)) == held
    follow(authority)
    vouchers = read(authority.vouchers_path)
    assert followed(held, read(authority.ca_path)) == held
    assert followed(held, [*read(stranger.ca_path), *vouchers]) == held


def test_whoever_holds_a_certificate_of_the_authority_is_none_himself(
    tmp_path: Path, authority: Authority
) -> None:
    held = read(authority.ca_path)
    port = issue_certificate(tmp_path, authority, NAMES)
    (key,) = keys_in(port.key_path)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fedcxr authority")])
    ambitious = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=held[0].not_valid_before_utc,
        not_valid_after=held[0].not_valid_after_utc,
        extensions=list(held[0].extensions)[1:3],
    ).sign(key, SHA384())
    assert followed(held, [ambitious, *read(port.cert_path)]) == held
    assert followed([ambitious], [ambitious, *held]) == [ambitious]


def test_an_authority_that_is_over_is_no_longer_believed_and_vouches_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "AUTHORITY_LIFE", timedelta(seconds=-1))
    with pytest.raises(AuthorityUnusable, match="has expired"):
        make_authority(tmp_path)
    over = read(tmp_path / "ca.crt")
    assert followed(over, over) == []


def test_an_authority_is_followed_by_itself_two_years_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "AUTHORITY_LIFE", OVERLAP + timedelta(days=1))
    old = read(make_authority(tmp_path).ca_path)
    assert read(make_authority(tmp_path).ca_path) == old
    monkeypatch.setattr(certificates, "OVERLAP", OVERLAP + timedelta(days=2))
    monkeypatch.setattr(certificates, "AUTHORITY_LIFE", timedelta(days=3652))
    following, *before = read(make_authority(tmp_path).ca_path)
    assert before == old
    assert following.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3650)
    assert read(make_authority(tmp_path).ca_path) == [following, *before]
    (voucher,) = read(tmp_path / "vouchers.crt")
    assert voucher.not_valid_after_utc == old[0].not_valid_after_utc


@pytest.mark.parametrize("written", [1, 2])
def test_a_coordinator_killed_while_its_authority_is_followed_has_the_old_one_or_the_next(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    old = read(authority.ca_path)
    left = [written]

    def dying(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write_file(path, content, mode=mode)

    monkeypatch.setattr(certificates, "write_file", dying)
    with pytest.raises(KeyboardInterrupt):
        follow(authority)
    monkeypatch.undo()
    assert load_authority(authority)[0] == old[0]
    issue_certificate(tmp_path, authority, NAMES)
    assert accepts(old, tmp_path)
    following = follow(authority)
    assert followed(old, shown(authority)) == [following, *old]


def test_two_processes_that_follow_at_once_make_one_authority(authority: Authority) -> None:
    present, _ = load_authority(authority)
    following = follow_authority(authority, present)
    assert follow_authority(authority, present) == following
    assert len(read(authority.ca_path)) == 2
