"""What a sender hands in is kept if it is what the sender says it is, and if there is room."""

import tracemalloc
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from client.sources.inbox import HEAD_BYTES, Inbox, Sent, Status
from client.sources.kinds import PLAIN_SYNTAXES
from client.sources.received import ReceivedSource
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph

DX = Machine(
    modality="DX", manufacturer="SYN", institution="SYN", bits=12, photometric="MONOCHROME2"
)
STUDY = Study(
    patient_id="SYN1", number=1, sex="F", age=50, view="PA", taken=datetime(2024, 1, 2, tzinfo=UTC)
)
PLENTY = 2**30
KIND, NAME = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"


def sent_file(path: Path, syntax: UID) -> Sent:
    """A radiograph as a well-behaved machine sends it."""
    write_radiograph(path, build_radiograph(np.eye(20), DX, STUDY), transfer_syntax=syntax)
    content = path.read_bytes()
    meta = dcmread(path, stop_before_pixels=True).file_meta
    start = 144 + meta.FileMetaInformationGroupLength
    return Sent(
        kind=str(meta.MediaStorageSOPClassUID),
        instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax=syntax,
        head=content[start:][:HEAD_BYTES],
        file=content,
    )


def sent_bytes(
    head: bytes, *, syntax: UID = ExplicitVRLittleEndian, kind: str = KIND, name: str = NAME
) -> Sent:
    return Sent(kind=kind, instance_uid=name, transfer_syntax=syntax, head=head, file=head)


def named(kind: str = KIND, name: str = NAME) -> bytes:
    """The beginning of a data set that states what it is."""

    def element(tag: bytes, uid: str) -> bytes:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        return tag + b"UI" + len(value).to_bytes(2, "little") + value

    return element(b"\x08\0\x16\0", kind) + element(b"\x08\0\x18\0", name)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "spool").mkdir()
    return Inbox(tmp_path / "spool", secret=b"s" * 32, max_waiting_bytes=PLENTY, keep_free_bytes=0)


def kept(tmp_path: Path) -> list[bytes]:
    source = ReceivedSource(tmp_path / "spool")
    return [source.file_of(item, tmp_path).read_bytes() for item in source.items()]


@pytest.mark.parametrize("syntax", PLAIN_SYNTAXES)
def test_a_radiograph_is_kept_byte_for_byte(inbox: Inbox, tmp_path: Path, syntax: UID) -> None:
    sent = sent_file(tmp_path / "sent.dcm", syntax)
    assert inbox.take(sent) is Status.STORED
    assert kept(tmp_path) == [sent.file]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (sent_bytes(named()), Status.STORED),
        (sent_bytes(named(kind="1.2.840.10008.5.1.4.1.1.2")), Status.OTHER_KIND),
        (sent_bytes(named(name="1.2.4")), Status.NOT_UNDERSTOOD),
        (sent_bytes(named(name="x"), name="x"), Status.NOT_UNDERSTOOD),
        (sent_bytes(named(name=""), name=""), Status.NOT_UNDERSTOOD),
        (sent_bytes(b""), Status.OTHER_KIND),
        (sent_bytes(named()[:-3]), Status.NOT_UNDERSTOOD),
        (sent_bytes(b"not deflated", syntax=DeflatedExplicitVRLittleEndian), Status.NOT_UNDERSTOOD),
    ],
)
def test_a_data_set_that_is_not_what_the_request_says_is_refused(
    inbox: Inbox, tmp_path: Path, sent: Sent, answer: Status
) -> None:
    assert inbox.take(sent) is answer
    assert len(kept(tmp_path)) == (answer is Status.STORED)


@given(head=st.binary(max_size=200), syntax=st.sampled_from(PLAIN_SYNTAXES))
def test_no_bytes_bring_the_inbox_to_a_fall(head: bytes, syntax: UID) -> None:
    inbox = Inbox(Path("nowhere"), secret=b"s" * 32, max_waiting_bytes=PLENTY, keep_free_bytes=0)
    assert inbox.take(sent_bytes(head, syntax=syntax)) in (Status.OTHER_KIND, Status.NOT_UNDERSTOOD)
    assert inbox.take(sent_bytes(named()[:8] + head)) in (Status.OTHER_KIND, Status.NOT_UNDERSTOOD)


def test_a_deflated_head_is_inflated_no_further_than_its_names(
    inbox: Inbox, tmp_path: Path
) -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(named() + bytes(2**24)) + deflate.flush()
    sent = sent_bytes(bomb[:HEAD_BYTES], syntax=DeflatedExplicitVRLittleEndian)
    tracemalloc.start()
    try:
        assert inbox.take(sent) is Status.STORED
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 2**22
    assert kept(tmp_path) == [bomb[:HEAD_BYTES]]


def test_the_rest_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, secret=b"s" * 32, max_waiting_bytes=PLENTY, keep_free_bytes=2**60)
    assert inbox.take(sent_bytes(named())) is Status.OUT_OF_RESOURCES


def test_what_cannot_be_written_is_not_said_to_be_stored(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("client.sources.inbox.keep_received", full)
    assert inbox.take(sent_bytes(named())) is Status.OUT_OF_RESOURCES
    assert kept(tmp_path) == []


def test_names_tell_nothing_and_differ_between_hospitals(tmp_path: Path) -> None:
    for number, secret in enumerate((b"s" * 32, b"t" * 32)):
        (tmp_path / "spool").mkdir(exist_ok=True)
        inbox = Inbox(
            tmp_path / "spool", secret=secret, max_waiting_bytes=PLENTY, keep_free_bytes=0
        )
        inbox.take(sent_bytes(named()))
        assert len(kept(tmp_path)) == number + 1
    assert not [path for path in (tmp_path / "spool").iterdir() if NAME in path.name]
