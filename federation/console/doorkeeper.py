"""Who may enter a console: whoever knows the password, and nobody who guesses.

Without a password of its own a console makes one that opens once, and tells it where the console was started; the next
one is told after it was used.
"""

import hashlib
import hmac
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from federation.console.password import HashedPassword, new_password

MAX_FAILURES = 5
FAILURE_SECONDS = 900.0
"""Time after which a wrong password is forgotten."""
MAX_ADDRESSES = 1000
"""Addresses that are remembered at a time; the longest silent ones are forgotten first."""
IPV6_NETWORK_BITS = 64
"""What one household or office is given of the addresses: it would have a new one for every guess."""


class TooManyAttempts(RuntimeError):
    """Somebody guesses."""

    def __init__(self, *, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"too many wrong passwords: wait {max(1, round(seconds / 60))} minutes, then try again"
        )


@dataclass(kw_only=True, slots=True)
class Doorkeeper:
    """Compares passwords, and counts wrong ones by address."""

    kept: HashedPassword | None
    """The console's own password; None: passwords that open once."""
    tell: Callable[[str], None]
    """Takes a new password that opens once."""
    now: Callable[[], float] = time.monotonic
    _once: bytes = b""
    """SHA-256 of the password that opens once: enough for 79 bits of the system's entropy. Empty for none."""
    _failures: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Make and tell the first password, if the console has none of its own."""
        if self.kept is None:
            password = new_password()
            self._once = _digest(password)
            self.tell(password)

    def admits(self, password: str, address: str) -> bool:
        """Whether this is the password.

        Raises:
            TooManyAttempts: the address gave too many wrong ones; this one was not even looked at.
        """
        asker = _asker(address)
        with self._lock:
            self._check_patience(asker)
            if not self._fits(password):
                self._count_failure(asker)
                return False
            self._failures.pop(asker, None)
            self.begin()
            return True

    def _fits(self, password: str) -> bool:
        if self.kept is not None:
            return self.kept.fits(password)
        return hmac.compare_digest(_digest(password), self._once)

    def _check_patience(self, address: str) -> None:
        failures = self._failures.get(address, deque())
        while failures and failures[0] <= self.now() - FAILURE_SECONDS:
            failures.popleft()
        if len(failures) >= MAX_FAILURES:
            raise TooManyAttempts(seconds=failures[0] + FAILURE_SECONDS - self.now())

    def _count_failure(self, address: str) -> None:
        failures = self._failures.pop(address, deque())
        failures.append(self.now())
        self._failures[address] = failures
        if len(self._failures) > MAX_ADDRESSES:
            del self._failures[next(iter(self._failures))]


def _asker(address: str) -> str:
    """By what wrong passwords are counted: an address, or the network of one that has many."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
