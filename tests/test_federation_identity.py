"""A server's certificate is taken up anew when its file changes, and never given away for one that cannot be used."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from federation.certificates import Certificate, issue_certificate, make_authority
from federation.identity import Identity


def issue(folder: Path, days: int) -> Certificate:
    return issue_certificate(
        folder, make_authority(folder), ("localhost",), life=timedelta(days=days)
    )


def shown(server: ssl.SSLContext, files: Certificate) -> bytes:
    """The certificate that a caller sees who trusts the authority."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusted = ssl.create_default_context(cafile=files.ca_path)
    caller = trusted.wrap_bio(back, there, server_hostname="localhost")
    answering = server.wrap_bio(there, back, server_side=True)
    for side in (caller, answering, caller):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    seen = caller.getpeercert(binary_form=True)
    assert seen is not None
    return seen


def kept(files: Certificate) -> bytes:
    return x509.load_pem_x509_certificate(files.cert_path.read_bytes()).public_bytes(Encoding.DER)


@pytest.fixture
def files(memory_path: Path) -> Certificate:
    return issue(memory_path, 20)


def test_whoever_connects_after_a_renewal_sees_the_new_certificate_and_nothing_is_restarted(
    files: Certificate, memory_path: Path
) -> None:
    context = Identity(files.cert_path, files.key_path).greeting()
    first = shown(context, files)
    issue(memory_path, 400)  # of which 20 days are less than a twelfth
    assert shown(context, files) == kept(files) != first


def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_use_until_one_can(
    files: Certificate, memory_path: Path
) -> None:
    context = Identity(files.cert_path, files.key_path).greeting()
    first = shown(context, files)
    whole = files.cert_path.read_bytes()
    files.cert_path.write_bytes(whole[:100])
    assert shown(context, files) == first
    files.cert_path.unlink()
    assert shown(context, files) == first
    issue(memory_path, 400)
    assert shown(context, files) == kept(files) != first


def test_a_server_that_is_greeted_speaks_tls_13_alone(files: Certificate) -> None:
    context = Identity(files.cert_path, files.key_path).greeting()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
