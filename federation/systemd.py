"""Telling systemd how a service stands: that it is up, in a sentence how it is, and that it still lives.

Outside systemd, that is, where it named no socket, every word of this does nothing. `sd_notify(3)` describes the protocol.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHED_VARIABLE = "WATCHDOG_PID"
MAX_STATUS = 240
"""Characters of a sentence that `systemctl status` shows in one line."""


@dataclass(kw_only=True, slots=True)
class ServiceManager:
    """The line to systemd; `service_manager` opens it."""

    address: str | None
    """Path of the socket, or ``@`` and its abstract name; None: nobody listens."""
    watchdog_seconds: float | None
    """The service is restarted after this long without a sign of life; None: it is not watched."""
    now: Callable[[], float] = time.monotonic
    _next_beat: float = float("-inf")
    _told: str = ""

    def ready(self, sentence: str) -> None:
        """The service is up; said again, only the sentence is new."""
        self._send(f"READY=1\nSTATUS={_one_line(sentence)}")

    def status(self, sentence: str) -> None:
        """How the service is, for `systemctl status`; the same twice is sent once."""
        line = _one_line(sentence)
        if line != self._told:
            self._told = line
            self._send(f"STATUS={line}")

    def stopping(self) -> None:
        """The service was asked to end and is about to."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """A sign of life; called often, it is sent three times as often as systemd wants one."""
        if self.watchdog_seconds is None or self.now() < self._next_beat:
            return
        self._next_beat = self.now() + self.watchdog_seconds / 3
        self._send("WATCHDOG=1")

    def _send(self, words: str) -> None:
        """A service must not die of a service manager that does not listen."""
        if self.address is None:
            return
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(0)
            try:
                line.sendto(words.encode(), name)
            except OSError:
                return


def service_manager(environment: Mapping[str, str] = os.environ) -> ServiceManager:
    """The manager that started this process, or one that hears nothing."""
    watched = environment.get(WATCHED_VARIABLE) in {None, str(os.getpid())}
    period = environment.get(WATCHDOG_VARIABLE, "") if watched else ""
    return ServiceManager(
        address=environment.get(SOCKET_VARIABLE) or None,
        watchdog_seconds=int(period) / 1e6 if period.isdecimal() and int(period) else None,
    )


def _one_line(sentence: str) -> str:
    return " ".join(sentence.split())[:MAX_STATUS]
