"""A caller that speaks TLS by the byte, from an address of its choice, and says what it gets to hear."""

import re
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

STRANGER = "127.0.0.2"
"""Another machine as far as the gateway knows."""
PATIENCE_SECONDS = 10.0


class RawLine:
    """One connection.

    Args:
        port: of the gateway.
        ca_path: of its authority.
        source: address to call from.
        newest: the newest TLS that is offered.
    """

    def __init__(
        self,
        port: int,
        ca_path: Path,
        *,
        source: str = STRANGER,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        trusted = ssl.create_default_context(cafile=ca_path)
        trusted.maximum_version = newest
        bare = socket.create_connection(
            ("127.0.0.1", port), timeout=PATIENCE_SECONDS, source_address=(source, 0)
        )
        try:
            self._socket = trusted.wrap_socket(bare, server_hostname="127.0.0.1")
        except OSError:
            bare.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    @property
    def version(self) -> str | None:
        """Of TLS."""
        return self._socket.version()

    def serial_number(self) -> object:
        """Of the certificate that is shown."""
        shown = self._socket.getpeercert()
        assert shown
        return shown["serialNumber"]

    def send(self, content: bytes) -> None:
        """All of it, as far as the other side takes it."""
        with suppress(OSError):
            self._socket.sendall(content)

    def drip(self, content: bytes, pause: float) -> None:
        """Byte after byte, until the other side hangs up."""
        with suppress(OSError):
            for byte in content:
                self._socket.sendall(bytes([byte]))
                time.sleep(pause)

    def hear(self) -> bytes:
        """Everything until the other side hangs up.

        Raises:
            TimeoutError: if it does not.
        """
        heard = bytearray()
        try:
            while piece := self._socket.recv(2**16):
                heard += piece
        except TimeoutError:
            raise
        except OSError:
            pass
        return bytes(heard)

    def hear_some(self) -> bytes:
        """What comes next, once anything does."""
        return self._socket.recv(2**16)

    def statuses(self) -> list[int]:
        """Of all answers until the other side hangs up."""
        return statuses_in(self.hear())


def statuses_in(heard: bytes) -> list[int]:
    """Of all answers that begin in this."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", heard)]
