"""The head of a request, read strictly: what two programs on its way could read in two ways is refused.

Bodies announce their length, once, in plain digits; there are no chunks, no folded lines, no second header of a name, no
other form of address than a path. So there is one way to tell where a request ends, for this gateway, for a proxy in
front of it and for Flower behind it (RFC 9112, sections 2, 5 and 6; request smuggling lives on the other ways).
"""

import re

MAX_HEAD_BYTES = 16 * 2**10
MAX_TARGET_BYTES = 2**11
MAX_HEADERS = 64
END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/([0-9]\.[0-9])")
_TARGET = re.compile(rb"/[!\x24-~]*")
"""From the root; neither a fragment nor a quotation mark."""
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,14}")
_HOST = re.compile(rb"[0-9A-Za-z.:\[\]_-]{1,255}")
_METHODS_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})


class BadHead(Exception):
    """A head that is not answered but for this."""

    def __init__(self, status: int, word: str) -> None:
        super().__init__(word)
        self.status = status
        self.word = word


def body_length(head: bytes) -> int:
    """How many bytes follow a head, which ends in an empty line.

    Raises:
        BadHead: if it is not as it has to be.
    """
    request_line, *lines = head.removesuffix(END).split(b"\r\n")
    method = _method(request_line)
    headers = _headers(lines)
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise BadHead(400, "host")
    if b"upgrade" in headers:
        raise BadHead(400, "upgrade")
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise BadHead(417, "expect")
    return _length(method, headers)


def _method(request_line: bytes) -> bytes:
    found = _REQUEST_LINE.fullmatch(request_line)
    if not found:
        raise BadHead(400, "request-line")
    method, target, version = found.groups()
    if version != b"1.1":
        raise BadHead(505, "version")
    if len(target) > MAX_TARGET_BYTES:
        raise BadHead(414, "target")
    if not _TARGET.fullmatch(target):
        raise BadHead(400, "target")
    return method


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    if len(lines) > MAX_HEADERS:
        raise BadHead(431, "too-many-headers")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found:
            raise BadHead(400, "header")
        name = found[1].lower()
        if name in headers:
            raise BadHead(400, "twice")
        headers[name] = found[2].rstrip(b" \t")
    return headers


def _length(method: bytes, headers: dict[bytes, bytes]) -> int:
    announced = headers.get(b"content-length")
    if b"transfer-encoding" in headers:
        raise BadHead(400 if announced is not None else 411, "length")
    if announced is None:
        return 0
    if not _LENGTH.fullmatch(announced):
        raise BadHead(400, "length")
    length = int(announced)
    if length and method not in _METHODS_WITH_BODY:
        raise BadHead(400, "body")
    return length
