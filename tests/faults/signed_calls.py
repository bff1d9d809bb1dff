"""Headers by which a hospital's node proves who it is, made as Flower makes them."""

import base64
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.gateway.callers import KEY_HEADER, SIGNATURE_HEADER, TIME_HEADER

KEY = ec.generate_private_key(ec.SECP384R1())
OTHER_KEY = ec.generate_private_key(ec.SECP384R1())


def signed(
    key: ec.EllipticCurvePrivateKey = KEY,
    *,
    signer: ec.EllipticCurvePrivateKey | None = None,
    late_seconds: float = 0.0,
) -> dict[str, str]:
    """What a node with this key sends.

    Args:
        key: whose public half is shown.
        signer: who signs; the same unless somebody only pretends.
        late_seconds: how far the node's clock is behind.
    """
    told = (datetime.now(UTC) - timedelta(seconds=late_seconds)).isoformat()
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = (signer or key).sign(told.encode(), ec.ECDSA(SHA256()))
    return {
        KEY_HEADER: base64.b64encode(shown).decode(),
        SIGNATURE_HEADER: base64.b64encode(signature).decode(),
        TIME_HEADER: told,
    }
