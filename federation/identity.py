"""Who a server says it is: its certificate and key, taken up anew when their files change, with nothing restarted."""

import logging
import ssl
from pathlib import Path

logger = logging.getLogger(__name__)


class Identity:
    """The server's certificate and key, read again when their files change."""

    def __init__(self, cert_path: Path, key_path: Path) -> None:
        self._paths = (cert_path, key_path)
        self._read = self._marks()
        self.context = self._load()

    def refresh(self) -> None:
        """Use a renewed certificate for connections from now on; keep the old one if the new one cannot be used."""
        try:
            marks = self._marks()
            if marks == self._read:
                return
            self.context, self._read = self._load(), marks
        except (OSError, ssl.SSLError):
            logger.warning("the new certificate cannot be used yet; the old one stays")
        else:
            logger.info("a renewed certificate is in use")

    def greeting(self) -> ssl.SSLContext:
        """For a server that keeps the context it was given: it looks at the files whenever somebody connects."""
        context = self._load()

        def greet(caller: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: object) -> None:
            self.refresh()
            caller.context = self.context

        context.sni_callback = greet
        return context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*self._paths)
        return context

    def _marks(self) -> tuple[tuple[int, int], ...]:
        about = [path.stat() for path in self._paths]
        return tuple((each.st_mtime_ns, each.st_ino) for each in about)
