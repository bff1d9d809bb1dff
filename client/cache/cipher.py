"""The cache encrypted at rest: AES-256-GCM with a key that the hospital keeps elsewhere (NIST SP 800-38D)."""

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.cache.seal import Checksum, Seal, SealBroken

KEY_VARIABLE = "FEDCXR_CACHE_KEY"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16


class CacheKeyUnusable(ValueError):
    """A key for the cache is configured and cannot be used."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"The key of the cache, {place}, cannot be used: {reason}. If the cache was encrypted before, the "
            "data manager puts its key back; a new key is made by typing: (umask 077; openssl rand -hex 32 > FILE)"
        )


class Cipher:
    """AES-GCM with a random nonce before the content and the tag after it; the context is authenticated."""

    num_extra_bytes = _NONCE_BYTES + _TAG_BYTES

    def __init__(self, key: bytes) -> None:
        self._gcm = AESGCM(key)

    def seal(self, content: bytes, context: str) -> bytes:
        """Nonce, ciphertext and tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._gcm.encrypt(nonce, content, context.encode())

    def unseal_into(self, out: memoryview, sealed: memoryview, context: str) -> None:
        """Decrypt.

        Raises:
            SealBroken: another key, another context, or changed bytes.
        """
        nonce, rest = bytes(sealed[:_NONCE_BYTES]), sealed[_NONCE_BYTES:]
        try:
            self._gcm.decrypt_into(nonce, rest, context.encode(), out)
        except InvalidTag:
            raise SealBroken from None


def seal_of(key: bytes | None) -> Seal:
    """What a cache is sealed with: encryption if there is a key, otherwise checksums."""
    return Checksum() if key is None else Cipher(key)


def key_mark(key: bytes | None) -> str:
    """Tells one key from another without telling the key; empty for none."""
    return "" if key is None else hashlib.sha256(b"fedcxr cache key|" + key).hexdigest()[:16]


def load_key(path: Path | None) -> bytes | None:
    """The 32 bytes of the key from the environment variable, else from the file; None without either.

    Raises:
        CacheKeyUnusable: there is one that is no key, or that others may read.
    """
    if KEY_VARIABLE in os.environ:
        return _from_digits(os.environ[KEY_VARIABLE], f"the environment variable {KEY_VARIABLE}")
    return None if path is None else _from_digits(_read_private(path), str(path))


def _read_private(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise CacheKeyUnusable(str(path), "there is no such file") from None
    except (OSError, UnicodeDecodeError):
        raise CacheKeyUnusable(str(path), "it cannot be read as text") from None
    if mode & 0o077:
        reason = f"its mode is {mode:04o} and must be 0600 (type: chmod 600 {path})"
        raise CacheKeyUnusable(str(path), reason)
    return text


def _from_digits(text: str, place: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise CacheKeyUnusable(place, "it is not hexadecimal digits") from None
    if len(key) != _KEY_BYTES:
        raise CacheKeyUnusable(place, f"it has {2 * len(key)} hexadecimal digits instead of 64")
    return key
