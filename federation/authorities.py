"""Believing the next authority because one that is believed already vouches for it."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from federation.pem import in_force


def followed(
    held: Sequence[x509.Certificate], shown: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The authorities to believe from now on, the newest first.

    Args:
        held: Those that are believed.
        shown: Authorities, and what each says for the next one, in any order and from anybody.

    Returns:
        Those of ``held`` that are in force, behind every one of ``shown`` that one of them, or one that follows
        one of them, vouches for.
    """
    believed, claimed = in_force(held), in_force(shown)
    while following := _next(believed, claimed):
        believed.insert(0, following)
    return believed


def _next(
    believed: Sequence[x509.Certificate], claimed: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    vouched = [
        voucher.public_key()
        for voucher in claimed
        if any(_speaks_for(authority, voucher) for authority in believed)
    ]
    for candidate in claimed:
        is_new = candidate not in believed and _speaks_for(candidate, candidate)
        if is_new and candidate.public_key() in vouched:
            return candidate
    return None


def _speaks_for(authority: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether an authority signed that the other key is an authority's."""
    try:
        other.verify_directly_issued_by(authority)
        return all(_is_authority(each) for each in (authority, other))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False


def _is_authority(certificate: x509.Certificate) -> bool:
    extensions = certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    return basic.ca and usage.key_cert_sign
