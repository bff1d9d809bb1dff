"""Certificates are made once, fit their names, and are renewed when they no longer do."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from federation import certificates
from federation.certificates import (
    AuthorityUnusable,
    Certificate,
    issue_certificate,
    make_authority,
)

NAMES = ("localhost", "fl.example.org", "127.0.0.1")


def issued(folder: Path, names: tuple[str, ...] = NAMES) -> Certificate:
    return issue_certificate(folder, make_authority(folder), names)


def handshake(files: Certificate, name: str) -> str:
    """Shake hands in memory, as a caller that trusts the authority and expects a name."""
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.cert_path, files.key_path)
    client_context = ssl.create_default_context(cafile=files.ca_path)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = server_context.wrap_bio(client_out, client_in, server_side=True)
    client = client_context.wrap_bio(client_in, client_out, server_hostname=name)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version() or ""


def test_a_caller_that_trusts_the_authority_accepts_every_name(tmp_path: Path) -> None:
    files = issued(tmp_path)
    assert [handshake(files, name) for name in NAMES] == ["TLSv1.3"] * 3


def test_a_caller_refuses_a_name_that_the_certificate_lacks(tmp_path: Path) -> None:
    files = issued(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, "elsewhere.example.org")


def test_a_caller_refuses_the_certificate_of_another_authority(tmp_path: Path) -> None:
    ours, theirs = issued(tmp_path / "ours"), issued(tmp_path / "theirs")
    mixed = Certificate(ca_path=ours.ca_path, cert_path=theirs.cert_path, key_path=theirs.key_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(mixed, "localhost")


def test_keys_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    issued(tmp_path / "tls")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.key": 0o600, "server.key": 0o600, "ca.crt": 0o644, "server.crt": 0o644}


def test_a_second_call_keeps_every_file(tmp_path: Path) -> None:
    issued(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    issued(tmp_path, tuple(reversed(NAMES)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_new_names_give_a_new_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first = issued(tmp_path).ca_path.read_bytes()
    files = issued(tmp_path, (*NAMES, "10.0.0.5"))
    assert files.ca_path.read_bytes() == first
    assert handshake(files, "10.0.0.5")


def test_a_certificate_near_its_end_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "CERTIFICATE_LIFE", timedelta(days=29))
    old = issued(tmp_path).cert_path.read_bytes()
    monkeypatch.undo()
    new = issued(tmp_path).cert_path.read_bytes()
    assert x509.load_pem_x509_certificate(old).not_valid_after_utc < datetime.now(UTC) + timedelta(
        days=30
    )
    assert x509.load_pem_x509_certificate(new).not_valid_after_utc > datetime.now(UTC) + timedelta(
        days=390
    )


def test_a_certificate_without_its_key_is_replaced(tmp_path: Path) -> None:
    issued(tmp_path).key_path.unlink()
    assert handshake(issued(tmp_path), "localhost")


def test_an_authority_without_its_key_asks_for_a_person(tmp_path: Path) -> None:
    make_authority(tmp_path).key_path.unlink()
    with pytest.raises(AuthorityUnusable, match=r"ca\.crt cannot be read: restore"):
        make_authority(tmp_path)


def test_a_server_certificate_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one name"):
        issue_certificate(tmp_path, make_authority(tmp_path), ())
