"""What shows, whenever something kept is read, that it is what was written: here a checksum."""

import zlib
from typing import Protocol

_CHECKSUM_BYTES = 4


class SealBroken(ValueError):
    """What was read is not what was written in this place."""


class Seal(Protocol):
    """Turns content into sealed bytes of a fixed length more, and back.

    The context says what the content is and where it belongs: what is moved elsewhere, or exchanged for
    something sealed elsewhere, is refused like what is changed.
    """

    @property
    def num_extra_bytes(self) -> int:
        """How much longer the sealed bytes are than the content."""
        ...

    def seal(self, content: bytes, context: str) -> bytes:
        """The content, sealed."""
        ...

    def unseal_into(self, out: memoryview, sealed: memoryview, context: str) -> None:
        """Put the content of sealed bytes into a place of its length.

        Raises:
            SealBroken: they are not what was sealed with this context.
        """
        ...


class Checksum:
    """CRC-32 after the content: notices what disks and people do by accident."""

    num_extra_bytes = _CHECKSUM_BYTES

    def seal(self, content: bytes, context: str) -> bytes:
        """The content and its checksum."""
        return content + _checksum(content, context)

    def unseal_into(self, out: memoryview, sealed: memoryview, context: str) -> None:
        """Check and copy.

        Raises:
            SealBroken: the checksum is another one.
        """
        content = sealed[:-_CHECKSUM_BYTES]
        if _checksum(content, context) != sealed[-_CHECKSUM_BYTES:]:
            raise SealBroken
        out[:] = content


def unsealed(seal: Seal, sealed: bytes, context: str) -> bytes:
    """The content of sealed bytes.

    Raises:
        SealBroken: they are not what was sealed with this context.
    """
    length = len(sealed) - seal.num_extra_bytes
    if length < 0:
        raise SealBroken
    content = bytearray(length)
    seal.unseal_into(memoryview(content), memoryview(sealed), context)
    return bytes(content)


def _checksum(content: bytes | memoryview, context: str) -> bytes:
    start = zlib.crc32(context.encode())
    return zlib.crc32(content, start).to_bytes(_CHECKSUM_BYTES, "little")
