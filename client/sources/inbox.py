"""One instance as a PACS sent it -> a whole file that waits on the disk, or the status that says why not."""

import shutil
import threading
import time
import zlib
from dataclasses import dataclass, field
from enum import IntEnum
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from client.dicom.header import DAMAGED_FILE_ERRORS, identifier
from client.sources.kinds import is_uid
from client.sources.quiet import keep_quiet
from client.sources.received import keep_received, waiting_bytes
from privacy.patient import opaque_name

HEAD_BYTES = 2**16
"""Of a data set, this much is looked at: its names are among the very first elements."""
KEEP_FREE_BYTES = 2 * 2**30
"""So much of the disk is left to everybody else."""

_RECOUNT_SECONDS = 1.0
_SOP_INSTANCE_UID = 0x00080018


class Status(IntEnum):
    """Answers to a C-STORE request (PS3.4 table B.2-1)."""

    STORED = 0x0000
    OUT_OF_RESOURCES = 0xA700
    OTHER_KIND = 0xA900
    NOT_UNDERSTOOD = 0xC000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What one C-STORE request carries."""

    kind: str
    """SOP class that the request announces."""
    instance_uid: str = field(repr=False)
    """SOP instance that the request announces."""
    transfer_syntax: UID
    head: bytes = field(repr=False)
    """The first bytes of the data set, as it was encoded by the sender."""
    file: bytes = field(repr=False)
    """Preamble, meta information, and the whole data set."""


class Inbox:
    """Keeps what is sent, as long as there is room; several threads may hand in at once."""

    def __init__(
        self,
        spool: Path,
        *,
        secret: bytes,
        max_waiting_bytes: int,
        keep_free_bytes: int = KEEP_FREE_BYTES,
    ) -> None:
        keep_quiet("pydicom")
        self._spool = spool
        self._secret = secret
        self._max_waiting_bytes = max_waiting_bytes
        self._keep_free_bytes = keep_free_bytes
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._counted_at = float("-inf")

    def take(self, sent: Sent) -> Status:
        """Bring one instance to the disk; it is there for good if the answer is that it is stored."""
        verdict = _judge(sent)
        if verdict is not Status.STORED:
            return verdict
        if not self._has_room(len(sent.file)):
            return Status.OUT_OF_RESOURCES
        try:
            key = opaque_name(self._secret, "received", sent.instance_uid)
            keep_received(self._spool, key, sent.file)
        except OSError:
            return Status.OUT_OF_RESOURCES
        return Status.STORED

    def _has_room(self, num_bytes: int) -> bool:
        with self._lock:
            if time.monotonic() - self._counted_at > _RECOUNT_SECONDS:
                self._waiting_bytes = waiting_bytes(self._spool)
                self._counted_at = time.monotonic()
            fits = self._waiting_bytes + num_bytes <= self._max_waiting_bytes
            free = shutil.disk_usage(self._spool).free
            if not fits or free < self._keep_free_bytes + num_bytes:
                return False
            self._waiting_bytes += num_bytes
            return True


def _judge(sent: Sent) -> Status:
    """Whether request and data set speak of the same instance."""
    try:
        head = _head_of(sent)
    except DAMAGED_FILE_ERRORS:
        return Status.NOT_UNDERSTOOD
    if identifier(head, "SOPClassUID") != sent.kind:
        return Status.OTHER_KIND
    uid = identifier(head, "SOPInstanceUID")
    same = uid == sent.instance_uid and is_uid(uid)
    return Status.STORED if same else Status.NOT_UNDERSTOOD


def _head_of(sent: Sent) -> Dataset:
    """The first elements, in which a data set names itself."""
    content, syntax = sent.head, sent.transfer_syntax
    if syntax.is_deflated:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, HEAD_BYTES)
    return read_dataset(
        BytesIO(content),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=_is_behind_the_names,
    )


def _is_behind_the_names(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _SOP_INSTANCE_UID
