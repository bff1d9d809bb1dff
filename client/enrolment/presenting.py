"""Flower's node shows the hospital's certificate with every call; a renewed one from the next call on."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from client.enrolment.trust import status_of_answer
from client.flower_names import replace_name
from client.node_status import NodeStatus, write_status
from federation.enrolment import CERTIFICATE_HEADER, header_of

Intercept = Callable[[object, ProtobufRequestContext, ProtobufCall], httpx.Response]


@dataclass(kw_only=True, slots=True)
class Shown:
    """A certificate as a header says it; read again when the file was replaced."""

    path: Path
    _stamp: tuple[int, int] | None = None
    _header: str = ""

    @property
    def header(self) -> str:
        """DER in base64; empty if there is no certificate, or none that can be read."""
        try:
            about = self.path.stat()
            stamp = (about.st_mtime_ns, about.st_ino)
            if stamp != self._stamp:
                self._header = header_of(x509.load_pem_x509_certificate(self.path.read_bytes()))
                self._stamp = stamp
        except (OSError, ValueError):
            self._header, self._stamp = "", None
        return self._header


@dataclass(kw_only=True, slots=True)
class _Standing:
    """Whether the coordinator lets calls pass, as the operators see it."""

    status_path: Path
    _is_refused: bool = False

    def note(self, response: httpx.Response) -> None:
        """Flower's node takes a refusal for the end of a run, and asks on; so it is noted here."""
        if response.status_code == httpx.codes.FORBIDDEN:
            write_status(self.status_path, status_of_answer(response))
            self._is_refused = True
        elif response.is_success and self._is_refused:
            write_status(self.status_path, NodeStatus.REGISTERED)
            self._is_refused = False


def present_certificate(path: Path, status_path: Path) -> None:
    """Have every call of Flower's node carry the certificate in this file, and note when it does not count."""
    shown, standing = Shown(path=path), _Standing(status_path=status_path)

    def presenting(original: Intercept) -> Intercept:
        def intercept(
            self: object, context: ProtobufRequestContext, call_next: ProtobufCall
        ) -> httpx.Response:
            if header := shown.header:
                context.request.headers[CERTIFICATE_HEADER] = header
            response = original(self, context, call_next)
            standing.note(response)
            return response

        return intercept

    interceptors = importlib.import_module("flwr.supernode.node_auth_http_interceptor")
    replace_name(interceptors.NodeAuthHttpInterceptor, "intercept", presenting)
