"""The one instance in an HTTP answer (PS3.18 section 8.7), a piece at a time."""

from collections.abc import Iterable, Iterator
from email.message import Message

from requests.exceptions import RequestException

_SINGLE_TYPES = {"application/dicom", "application/octet-stream"}
_END_OF_HEADERS = b"\r\n\r\n"
_MAX_HEADER_BYTES = 2**16


class CutShort(RequestException):
    """The answer ended before the instance did."""


class NoInstance(RequestException):
    """The answer is something else than an instance."""


def instance_in(content_type: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The instance's bytes; memory does not grow with it.

    Args:
        content_type: Of the whole answer. Some servers send the instance bare instead of as the one part
            of a multipart answer.
        chunks: The answer's body.

    Raises:
        CutShort: The end of the part is missing.
        NoInstance: It is not the kind of answer that holds one.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() in _SINGLE_TYPES:
        yield from chunks
    elif header.get_content_type() == "multipart/related" and isinstance(boundary, str):
        yield from _first_part(iter(chunks), b"\r\n--" + boundary.encode())
    else:
        raise NoInstance


def _first_part(chunks: Iterator[bytes], marker: bytes) -> Iterator[bytes]:
    held = _without_headers(chunks)
    for chunk in chunks:
        if marker in held:
            break
        # The marker may lie across two chunks: what could be its beginning is held back.
        sure = max(len(held) - len(marker), 0)
        yield held[:sure]
        held = held[sure:] + chunk
    content, found, _ = held.partition(marker)
    if not found:
        raise CutShort
    yield content


def _without_headers(chunks: Iterator[bytes]) -> bytes:
    held = b""
    for chunk in chunks:
        held += chunk
        if _END_OF_HEADERS in held:
            return held.partition(_END_OF_HEADERS)[2]
        if len(held) > _MAX_HEADER_BYTES:
            raise NoInstance
    raise CutShort
