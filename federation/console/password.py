"""Passwords of a console: made from the system's entropy, kept as a scrypt hash, never written down in clear."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from federation.files import write_file

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without letters that are mistaken for others when they are read out."""
NUM_GROUPS, GROUP_LENGTH = 4, 4
"""16 letters of 31: 79 bits, which nobody guesses through a door that opens five times in a quarter of an hour."""
MIN_LENGTH = 12
COST, BLOCK_SIZE, PARALLELISM = 2**14, 8, 5
"""Of scrypt (RFC 7914), as OWASP's password storage cheat sheet recommends them for 16 MiB of memory."""
SALT_BYTES, HASH_BYTES = 16, 32


class PasswordFileUnusable(RuntimeError):
    """The file that should hold a hashed password holds something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds no password of a console: remove it, or write it anew with --set-password"
        )


class PasswordTooShort(ValueError):
    """A password that could be guessed."""

    def __init__(self) -> None:
        super().__init__(f"the password is too short: it needs at least {MIN_LENGTH} characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedPassword:
    """A password that can be recognised, but not read."""

    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        """Whether this is the password; takes about a tenth of a second, whatever it is."""
        return hmac.compare_digest(_digest(password, self.salt), self.digest)


def new_password() -> str:
    """A password that is easy to read out, such as ``kf3w-9mzt-hh2q-ueca``."""
    groups = (
        "".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(NUM_GROUPS)
    )
    return "-".join(groups)


def hash_password(password: str) -> HashedPassword:
    """A password as it is kept.

    Raises:
        PasswordTooShort: it could be guessed.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordTooShort
    salt = secrets.token_bytes(SALT_BYTES)
    return HashedPassword(salt=salt, digest=_digest(password, salt))


def write_password(path: Path, password: str) -> None:
    """Keep a password's hash in a file that only its owner can read.

    Raises:
        PasswordTooShort: it could be guessed.
    """
    hashed = hash_password(password)
    write_file(path, f"scrypt {hashed.salt.hex()} {hashed.digest.hex()}\n".encode())


def read_password(path: Path) -> HashedPassword | None:
    """The password that was kept; None if there is none.

    Raises:
        PasswordFileUnusable: the file holds something else.
    """
    try:
        kind, salt, digest = path.read_text().split()
        hashed = HashedPassword(salt=bytes.fromhex(salt), digest=bytes.fromhex(digest))
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise PasswordFileUnusable(path) from err
    if kind != "scrypt" or (len(hashed.salt), len(hashed.digest)) != (SALT_BYTES, HASH_BYTES):
        raise PasswordFileUnusable(path)
    return hashed


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=COST,
        r=BLOCK_SIZE,
        p=PARALLELISM,
        maxmem=2**26,
        dklen=HASH_BYTES,
    )
