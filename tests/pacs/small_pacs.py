"""A DICOMweb server of a few instances that stumbles, hangs up or forgets filters as a test wishes."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DX_KIND = "1.2.840.10008.5.1.4.1.1.1.1"
SR_KIND = "1.2.840.10008.5.1.4.1.1.88.11"
HANG_UP, BREAK_OFF = 0, 1
HALF_AN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=b\r\nContent-Length: 99\r\n\r\n--b"


@dataclass
class Instance:
    """What the small PACS has of one instance."""

    name: str
    """Study, series and instance, as ``1/2/3``."""
    modality: str = "DX"
    kind: str = DX_KIND
    day: str = "20240102"
    patient: str = "SYN1"
    content: bytes = b"content"


@dataclass
class SmallPacs:
    """A DICOMweb server that behaves as it is told."""

    instances: list[Instance] = field(default_factory=list)
    most_at_once: int = 10**6
    knows_offset: bool = True
    knows_filters: bool = True
    states_modalities: bool = True
    authorization: str | None = None
    stumbles: list[int] = field(default_factory=list)
    """Statuses to answer with first, or HANG_UP, or BREAK_OFF."""
    answer_with: tuple[str, bytes] | None = None
    bare: bool = False
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def matches(self, path: str, query: dict[str, list[str]]) -> list[dict[str, object]]:
        """The answer to a search."""
        depth = path.count("/") // 2
        found = {}
        for instance in self.instances:
            uids = instance.name.split("/")
            in_time = not self.knows_filters or is_in(instance.day, query)
            if path.split("/")[2::2] == uids[:depth] and in_time:
                found["/".join(uids[: depth + 1])] = self._data_set(instance, uids)
        offset = int(query.get("offset", ["0"])[0]) if self.knows_offset else 0
        limit = min(int(query.get("limit", ["1000000"])[0]), self.most_at_once)
        return list(found.values())[offset : offset + limit]

    def content(self, path: str) -> bytes:
        """The instance itself."""
        name = "/".join(path.split("/")[2::2])
        return next(i.content for i in self.instances if i.name == name)

    def _data_set(self, instance: Instance, uids: list[str]) -> dict[str, object]:
        study, series, uid = uids
        values: dict[str, list[str]] = {
            "0020000D": [study],
            "0020000E": [series],
            "00080018": [uid],
            "00080016": [instance.kind],
            "00080020": [instance.day],
            "00080060": [instance.modality],
            "00100020": [instance.patient],
        }
        if self.states_modalities:
            same = [i for i in self.instances if i.name.split("/")[0] == study]
            values["00080061"] = [i.modality for i in same]
        return {tag: {"vr": "UI", "Value": value} for tag, value in values.items()}


def is_in(day: str, query: dict[str, list[str]]) -> bool:
    first, _, last = query.get("StudyDate", ["-"])[0].partition("-")
    return (first or "0") <= day <= (last or "9")


class Handler(BaseHTTPRequestHandler):
    """One request to the small PACS."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """Head and content are two packets; without this the second waits for the first's receipt."""
    pacs: SmallPacs

    def do_GET(self) -> None:
        """Stumble, or answer."""
        self.pacs.asked.append(self.path)
        self.pacs.headers.append(dict(self.headers))
        stumble = self.pacs.stumbles.pop(0) if self.pacs.stumbles else None
        if self.pacs.authorization not in (None, self.headers.get("Authorization")):
            stumble = 401
        if stumble in (HANG_UP, BREAK_OFF):
            self.close_connection = True
            self.wfile.write(HALF_AN_ANSWER if stumble == BREAK_OFF else b"")
        elif stumble is not None:
            self.answer(stumble, "text/plain", b"SYN1")
        else:
            self.answer_well()

    def answer_well(self) -> None:
        """Answer a search or hand out an instance."""
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/dicom-web")
        if self.pacs.answer_with is not None:
            self.answer(200, *self.pacs.answer_with)
        elif path.count("/") < 6:
            found = self.pacs.matches(path, parse_qs(parts.query))
            self.answer(200, "application/dicom+json", json.dumps(found).encode())
        elif self.pacs.bare:
            self.answer(200, "application/dicom", self.pacs.content(path))
        else:
            content = b"--between\r\n\r\n" + self.pacs.content(path) + b"\r\n--between--"
            kind = 'multipart/related; type="application/dicom"; boundary="between"'
            self.answer(200, kind, content)

    def answer(self, status: int, kind: str, content: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(pacs: SmallPacs, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run the server; gives its port."""
    handler = type("HandlerOfOne", (Handler,), {"pacs": pacs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
