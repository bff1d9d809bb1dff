"""The study authority's signature on plans and models; hospitals get its public half when they join."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.files import make_private_folder
from federation.signing import make_signing_key, public_pem, sign

FOLDER = "authority"
KEY_NAME = "authority.key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """Signs in the coordinator's name."""

    public_path: Path
    """Public half as PEM, to be given to anyone who checks."""
    _key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """Public half, as PEM."""
        return public_pem(self._key)

    def sign(self, content: bytes) -> bytes:
        """An Ed25519 signature on these bytes."""
        return sign(self._key, content)


def study_authority(state: Path) -> Authority:
    """The authority of this coordinator's state folder; its key is made on first use and never leaves.

    Raises:
        SigningKeyUnusable: if the key's file is damaged.
    """
    path = make_private_folder(state / FOLDER) / KEY_NAME
    key = make_signing_key(path)
    return Authority(public_path=path.with_suffix(".pub"), _key=key)
