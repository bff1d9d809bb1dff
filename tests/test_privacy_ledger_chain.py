"""The chain of records: it only grows, it is on the disk, and every change of a byte in it is noticed."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.ledger.chain import NO_DIGEST, Chain, ChainDamaged, Head, parse_chain, read_chain
from privacy.ledger.chain_writer import ChainDisturbed, ChainInUse, ChainWriter, open_chain

RECORDS = ({"kind": "open", "delta": 1e-5}, {"kind": "a", "number": 1}, {"kind": "b", "x": 0.1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a chain with three records."""
    with open_chain(tmp_path / "chain") as writer:
        for record in RECORDS:
            writer.append(record)
    return tmp_path / "chain"


@pytest.fixture
def writer(path: Path) -> Iterator[ChainWriter]:
    """The same chain, open."""
    with open_chain(path) as opened:
        yield opened


def test_records_come_back_as_they_were_with_a_head_after_each(path: Path) -> None:
    chain = read_chain(path)
    assert chain.records == RECORDS
    assert chain.head == Head(count=3, digest=chain.digests[2])
    assert len(set(chain.digests)) == 3
    assert (chain.torn, chain.unended) == (False, False)


def test_a_chain_goes_on_where_it_was(path: Path) -> None:
    before = read_chain(path)
    with open_chain(path) as again:
        head = again.append({"kind": "c"})
    after = read_chain(path)
    assert (after.records, after.head) == ((*RECORDS, {"kind": "c"}), head)
    assert path.read_bytes()[: before.num_bytes].count(b"\n") == 3


def test_a_chain_has_passed_through_each_of_its_heads_and_no_other(path: Path) -> None:
    chain = read_chain(path)
    assert chain.holds(Head(count=0, digest=NO_DIGEST))
    for count, digest in enumerate(chain.digests, start=1):
        assert chain.holds(Head(count=count, digest=digest))
        assert not chain.holds(Head(count=count + 1, digest=digest))
    assert not chain.holds(Head(count=-1, digest=chain.digests[2]))
    assert not chain.holds(Head(count=0, digest=chain.digests[2]))


def test_every_changed_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        for flipped in (0x01, 0x04, 0x20, 0x80):
            changed = bytearray(content)
            changed[place] ^= flipped
            with pytest.raises(ChainDamaged, match="is damaged at record"):
                parse_chain(bytes(changed), path)


def test_every_byte_that_is_put_in_or_taken_out_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        for changed in (
            content[:place] + b" " + content[place:],
            content[:place] + b"\n" + content[place:],
        ):
            with pytest.raises(ChainDamaged):
                parse_chain(changed, path)
        if place < len(content) - 2:  # the last two are the end of a torn line
            with pytest.raises(ChainDamaged):
                parse_chain(content[:place] + content[place + 1 :], path)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2), (0, 1, 1, 2), (0, 1, 2, 0)])
def test_lines_that_were_moved_left_out_or_repeated_are_noticed(
    path: Path, order: tuple[int, ...]
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    with pytest.raises(ChainDamaged):
        parse_chain(b"".join(lines[number] for number in order), path)


def test_every_beginning_of_the_last_line_is_harmless_to_a_reader_and_dropped_by_a_writer(
    path: Path,
) -> None:
    content = path.read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for end in range(start + 1, len(content) - 1):
        path.write_bytes(content[:end])
        assert (read_chain(path).torn, read_chain(path).records) == (True, RECORDS[:2])
    with open_chain(path) as mended:
        assert path.read_bytes() == content[:start]
        mended.append(RECORDS[2])
    assert path.read_bytes() == content


def test_a_line_that_lacks_its_end_alone_counts(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert (read_chain(path).records, read_chain(path).torn) == (RECORDS, False)
    with open_chain(path) as mended:
        assert mended.chain.records == RECORDS
    assert path.read_bytes() == content


def test_a_second_writer_is_sent_away_while_readers_read(writer: ChainWriter, path: Path) -> None:
    with pytest.raises(ChainInUse, match="in use by another fedcxr process") as refused:
        open_chain(path, patience_seconds=0.0).__enter__()
    assert len(str(refused.value).splitlines()) == 1
    assert read_chain(path).records == RECORDS
    writer.append({"kind": "c"})
    assert read_chain(path).head == writer.chain.head


def test_the_lock_goes_with_the_writer(path: Path) -> None:
    with open_chain(path, patience_seconds=0.0):
        pass
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("what", ["replaced", "removed", "written to", "cut short"])
def test_nothing_is_added_to_a_file_that_somebody_else_disturbed(
    writer: ChainWriter, path: Path, what: str
) -> None:
    if what in {"replaced", "removed"}:
        content = path.read_bytes()
        path.rename(path.with_name("old"))
        if what == "replaced":
            path.write_bytes(content)
    else:
        with path.open("ab") as file:
            file.truncate(50) if what == "cut short" else file.write(b"x")
    with pytest.raises(ChainDisturbed):
        writer.append({"kind": "c"})


@pytest.mark.parametrize(("call", "num_records"), [("write", 3), ("fsync", 4)])
def test_after_a_disk_error_a_writer_adds_nothing_and_the_next_one_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, num_records: int
) -> None:
    def full(descriptor: int, content: bytes = b"") -> int:
        os.pwrite(descriptor, bytes(content)[:7], os.fstat(descriptor).st_size)
        raise OSError(28, "No space left on device")

    with open_chain(path) as writer:
        with monkeypatch.context() as broken:
            broken.setattr(os, call, full)
            with pytest.raises(OSError, match="No space"):
                writer.append({"kind": "c"})
        assert writer.chain.records == RECORDS
        with pytest.raises(ChainDisturbed):
            writer.append({"kind": "c"})
    with open_chain(path) as next_writer:
        assert len(next_writer.chain.records) == num_records


def test_content_and_name_are_on_the_disk_before_anybody_relies_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = list[Path](), os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    path = tmp_path / "chain"
    monkeypatch.setattr(os, "fsync", note)
    for _ in range(2):  # made, and opened again after somebody who may have been killed
        with open_chain(path) as writer:
            assert {*synced} == {path, tmp_path}
            synced.clear()
            writer.append({"kind": "a"})
            assert synced == [path]
            synced.clear()


def test_a_chain_is_its_owners_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"\n", b"{}\n", b"[]\n", b'{"record":1}\n', b"\xff\n", b"[" * 9999 + b"\n"]
)
def test_something_else_than_a_chain_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ChainDamaged, match="at record 1"):
        parse_chain(content, tmp_path)


def test_an_empty_file_is_an_empty_chain(tmp_path: Path) -> None:
    assert parse_chain(b"", tmp_path) == Chain()
    assert Chain().head == Head(count=0, digest=NO_DIGEST)
