"""Who has entered a console, until they leave, go idle, or the console ends: nothing of it is on a disk."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

IDLE_SECONDS = 1800.0
LIFE_SECONDS = 12 * 3600.0
MAX_SESSIONS = 64
"""Open at a time; the oldest is closed for a new one."""
TOKEN_BYTES = 32


@dataclass(kw_only=True, slots=True)
class _Session:
    began: float
    used: float


@dataclass(kw_only=True, slots=True)
class Sessions:
    """Open sessions by token, and the marks that forms made for a token carry."""

    now: Callable[[], float] = time.monotonic
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(TOKEN_BYTES))
    _open: dict[str, _Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> str:
        """Open a session; gives its token, which nobody knew before."""
        token = new_token()
        with self._lock:
            if len(self._open) >= MAX_SESSIONS:
                del self._open[next(iter(self._open))]
            self._open[token] = _Session(began=self.now(), used=self.now())
        return token

    def is_open(self, token: str, *, is_use: bool) -> bool:
        """Whether a token opens pages now.

        Args:
            token: From a cookie.
            is_use: Whether a person asks; a page that refreshes itself keeps no session from going idle.
        """
        with self._lock:
            session = self._open.get(token)
            if session is None:
                return False
            now = self.now()
            if now - session.used > IDLE_SECONDS or now - session.began > LIFE_SECONDS:
                del self._open[token]
                return False
            if is_use:
                session.used = now
            return True

    def end(self, token: str) -> None:
        """Close a session."""
        with self._lock:
            self._open.pop(token, None)

    def mark(self, token: str) -> str:
        """What a form shown to the holder of a token carries, so that no other site can send it."""
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()

    def is_marked(self, token: str, mark: str) -> bool:
        """Whether a form was made here, for this token."""
        return hmac.compare_digest(self.mark(token).encode(), mark.encode())


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)
