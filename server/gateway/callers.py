"""Who calls: the key that a hospital's node shows with every call, and the proof that it holds the other half.

Flower's nodes sign the time of the call (its SuperLink checks that once more). Checked here, a stranger is told so by the
head of its request alone, and nobody can use up what another one may ask for.
"""

import base64
import functools
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

KEY_HEADER = "flwr-public-key"
SIGNATURE_HEADER = "flwr-signature"
TIME_HEADER = "flwr-timestamp"
MAX_AGE_SECONDS = 305.0
MAX_AHEAD_SECONDS = 5.0
"""Flower's own limits."""


class NotSigned(Exception):
    """Nobody's call; the word says why."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def shown_key(headers: Mapping[str, str]) -> bytes:
    """The public key (PEM) that a call shows, proven or not; empty if it shows none."""
    try:
        return base64.b64decode(headers.get(KEY_HEADER, ""), validate=True)
    except ValueError:
        return b""


def caller_key(headers: Mapping[str, str]) -> bytes:
    """The public key (PEM) of whoever made this call.

    Raises:
        NotSigned: ``unsigned``, ``clock`` or ``signature``.
    """
    try:
        pem = base64.b64decode(headers[KEY_HEADER], validate=True)
        signature = base64.b64decode(headers[SIGNATURE_HEADER], validate=True)
        told = headers[TIME_HEADER]
        age = (datetime.now(UTC) - datetime.fromisoformat(told)).total_seconds()
        key = _load(pem)
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise NotSigned("unsigned") from err
    if not -MAX_AHEAD_SECONDS < age < MAX_AGE_SECONDS:
        raise NotSigned("clock")
    try:
        key.verify(signature, told.encode(), ec.ECDSA(SHA256()))
    except InvalidSignature as err:
        raise NotSigned("signature") from err
    return pem


@functools.lru_cache(maxsize=1024)
def _load(pem: bytes) -> ec.EllipticCurvePublicKey:
    key = load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not an elliptic curve key")
    return key
