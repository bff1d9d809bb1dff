"""Files of tensors: read and written by pieces, the same as safetensors does it, and nothing else is taken for one."""

import json
import signal
import subprocess
import sys
import textwrap
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from model.arrays import WrongModelFile, digest_arrays, load_arrays
from model.tensor_file import TensorFile, copy_tensors, header_bytes, write_tensors
from model.tensors import Piece, pieces_of

SHAPES = {"a": (2, 3), "b": (), "c": (0, 5), "d": (7,)}


def arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {name: np.asarray(rng.normal(size=SHAPES[name]), np.float32) for name in "dbca"}


@pytest.fixture
def path(memory_path: Path) -> Path:
    """A good file."""
    copy_tensors(memory_path / "w.safetensors", arrays())
    return memory_path / "w.safetensors"


def test_safetensors_reads_what_was_written_here(tmp_path: Path) -> None:
    copy_tensors(tmp_path / "w", arrays(), {"study": "demo"})
    assert digest_arrays(load_file(tmp_path / "w")) == digest_arrays(arrays())
    with safe_open(tmp_path / "w", framework="numpy") as file:
        assert file.metadata() == {"study": "demo"}


def test_what_safetensors_wrote_is_read_here_in_whichever_order_it_lies(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "w", metadata={"study": "demo"})
    file = TensorFile(tmp_path / "w")
    assert file.shapes == SHAPES
    assert digest_arrays(file) == digest_arrays(arrays())


def test_the_written_bytes_are_those_of_safetensors(path: Path, tmp_path: Path) -> None:
    tensors = {name: arrays()[name] for name in "ad"}  # one order for names and for bytes
    copy_tensors(tmp_path / "w", tensors)
    assert (tmp_path / "w").read_bytes() == save(tensors)
    assert path.read_bytes() != save(tensors)


def test_the_digest_of_a_copy_is_the_digest_of_the_arrays(tmp_path: Path) -> None:
    assert copy_tensors(tmp_path / "w", arrays()) == digest_arrays(arrays())
    again = copy_tensors(tmp_path / "v", TensorFile(tmp_path / "w"))
    assert again == digest_arrays(arrays())
    assert (tmp_path / "v").read_bytes() == (tmp_path / "w").read_bytes()


def test_a_file_without_tensors_can_be_read_by_both(tmp_path: Path) -> None:
    assert copy_tensors(tmp_path / "w", {}) == digest_arrays({})
    assert dict(TensorFile(tmp_path / "w")) == load_arrays(tmp_path / "w") == {}


@given(start=st.integers(0, 6), length=st.integers(0, 6))
def test_a_piece_is_that_part_of_its_tensor(
    start: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.safetensors"
    if not path.exists():
        copy_tensors(path, arrays())
    piece = Piece(name="d", start=start, stop=min(start + length, 7))
    found = TensorFile(path).piece(piece)
    np.testing.assert_array_equal(found, arrays()["d"][piece.start : piece.stop])
    assert found.flags.writeable


def test_every_bit_survives(tmp_path: Path) -> None:
    odd = np.array([0x80000000, 0x7F800000, 0xFF800000, 0x7FA00001, 0xFFC12345, 1], np.uint32)
    copy_tensors(tmp_path / "w", {"w": odd.view(np.float32)})
    np.testing.assert_array_equal(TensorFile(tmp_path / "w")["w"].view(np.uint32), odd)


def test_pieces_may_be_put_in_double_precision(tmp_path: Path) -> None:
    with write_tensors(tmp_path / "w", {"w": (2,)}) as writer:
        writer.put(Piece(name="w", start=0, stop=1), np.array([0.1]))
        writer.put(Piece(name="w", start=1, stop=2), np.array([0.2]))
    wanted = {"w": np.array([0.1, 0.2], np.float32)}
    assert writer.digest == digest_arrays(wanted) == digest_arrays(TensorFile(tmp_path / "w"))


def write_zeros(path: Path, order: list[tuple[str, int, int]]) -> None:
    with write_tensors(path, SHAPES) as writer:
        for name, start, stop in order:
            piece = Piece(name=name, start=start, stop=stop)
            writer.put(piece, np.zeros(piece.num_values, np.float32))


LAST = [("b", 0, 1), ("c", 0, 0), ("d", 0, 7)]
WRONG_ORDERS = {
    "a gap": [("a", 0, 2), ("a", 3, 6), *LAST],
    "the same again": [("a", 0, 3), ("a", 0, 3), ("a", 3, 6), *LAST],
    "the second tensor first": [("b", 0, 1)],
    "the first tensor cut short": [("a", 0, 5), *LAST],
    "the first tensor too long": [("a", 0, 7), *LAST],
    "the last tensor missing": [("a", 0, 6), ("b", 0, 1), ("c", 0, 0)],
    "an empty tensor missing": [("a", 0, 6), ("b", 0, 1), ("d", 0, 7)],
    "the last tensor cut short": [("a", 0, 6), ("b", 0, 1), ("c", 0, 0), ("d", 0, 6)],
    "a tensor that was not announced": [("A", 0, 1)],
    "nothing": [],
}


@pytest.mark.parametrize("order", WRONG_ORDERS.values(), ids=WRONG_ORDERS.keys())
def test_pieces_that_are_missing_or_out_of_order_leave_the_old_file(
    order: list[tuple[str, int, int]], path: Path
) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="tensor"):
        write_zeros(path, order)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_more_values_than_the_piece_says_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="tensor"),
        write_tensors(tmp_path / "w", {"w": (2,)}) as out,
    ):
        out.put(Piece(name="w", start=0, stop=1), np.zeros(2, np.float32))


def test_files_in_order_of_name_know_it(path: Path, tmp_path: Path) -> None:
    file = TensorFile(path)
    assert file.is_ordered
    assert path.read_bytes()[file.data_start :] == b"".join(
        file[name].tobytes() for name in sorted(SHAPES)
    )
    save_file({"b": np.zeros(1, np.float32), "a": np.zeros(2, np.float32)}, tmp_path / "w")
    content = json.dumps({"b": entry([1], 0, 4), "a": entry([2], 4, 12)})
    assert not TensorFile(write(tmp_path / "w", content, 12)).is_ordered


def entry(shape: object, start: object, stop: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write(path: Path, header: str | bytes, num_bytes: int) -> Path:
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(num_bytes))
    return path


COMPLETE = "is not a complete safetensors file: copy it again from where it came from"
FOREIGN: dict[str, tuple[str | bytes, int]] = {
    "overlapping tensors": (json.dumps({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}), 12),
    "a gap": (json.dumps({"a": entry([2], 0, 8), "b": entry([1], 12, 16)}), 16),
    "a gap before the first": (json.dumps({"a": entry([1], 4, 8)}), 8),
    "bytes after the last": (json.dumps({"a": entry([1], 0, 4)}), 8),
    "bytes missing": (json.dumps({"a": entry([3], 0, 12)}), 8),
    "a shape for other bytes": (json.dumps({"a": entry([3], 0, 8)}), 8),
    "a negative side": (json.dumps({"a": entry([-1, -2], 0, 8)}), 8),
    "negative bytes": (json.dumps({"a": entry([1], 4, 8), "b": entry([0], 4, 0)}), 8),
    "a side that is no whole number": (json.dumps({"a": entry([2.0], 0, 8)}), 8),
    "a side that is a truth": (json.dumps({"a": entry([True], 0, 4)}), 4),
    "a position that is no number": (json.dumps({"a": entry([1], "0", "4")}), 4),
    "three positions": (json.dumps({"a": entry([1], 0, 4) | {"data_offsets": [0, 4, 4]}}), 4),
    "a shape that is no list": (json.dumps({"a": entry("1", 0, 4)}), 4),
    "an entry without a shape": (json.dumps({"a": {"dtype": "F32", "data_offsets": [0, 4]}}), 4),
    "an entry that is no entry": (json.dumps({"a": 3}), 4),
    "a list": ("[]", 0),
    "no JSON": ("{'a': 1}", 0),
    "no text": (b"\xff\xfe{}", 0),
    "endless brackets": ("[" * 200_000, 0),
    "an endless number": (json.dumps({"a": entry([1], 0, 4)}).replace("4]", "9" * 5000 + "]"), 4),
}


@pytest.mark.parametrize(("header", "num_bytes"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_file_of_tensors_is_refused_in_one_sentence(
    header: str | bytes, num_bytes: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "w.safetensors", header, num_bytes)
    with pytest.raises(WrongModelFile, match=COMPLETE):
        TensorFile(path)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "I8", "F8_E4M3"])
def test_numbers_that_are_not_float32_are_refused_in_one_sentence(
    dtype: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "w", json.dumps({"a": entry([1], 0, 4, dtype)}), 4)
    with pytest.raises(WrongModelFile, match=r"w holds numbers that are not float32: copy it"):
        TensorFile(path)


def test_a_missing_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WrongModelFile, match="does not exist: copy it again"):
        TensorFile(tmp_path / "none")


def test_a_header_that_claims_to_be_huge_is_not_read(path: Path) -> None:
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(WrongModelFile, match=COMPLETE):
        TensorFile(path)


def test_a_file_that_is_cut_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 5), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WrongModelFile, match=COMPLETE):
            TensorFile(path)


def test_a_bit_that_tips_in_the_header_is_refused_or_moves_no_value(path: Path) -> None:
    whole = path.read_bytes()
    before = TensorFile(path)
    for bit in range(0, 8 * before.data_start, 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = TensorFile(path)
        except WrongModelFile:
            continue
        assert list(map(prod, found.shapes.values())) == list(map(prod, before.shapes.values()))


def test_a_file_that_is_cut_after_it_was_opened_is_refused(path: Path) -> None:
    file = TensorFile(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WrongModelFile, match="is cut short: copy it again"):
        file["d"]


def test_the_header_of_equal_shapes_is_equal() -> None:
    assert header_bytes(SHAPES, {}) == header_bytes(dict(reversed(SHAPES.items())), {})
    assert len(header_bytes(SHAPES, {})) % 8 == 0


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A Python program of its own."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_a_process_that_is_killed_as_it_writes_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    program = """
        import os, signal, sys
        from pathlib import Path
        import numpy as np
        from model.tensor_file import write_tensors
        from model.tensors import Piece
        with write_tensors(Path(sys.argv[1]), {"w": (2,)}) as writer:
            writer.put(Piece(name="w", start=0, stop=1), np.zeros(1, np.float32))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(program, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert digest_arrays(TensorFile(path)) == digest_arrays(arrays())


@pytest.mark.slow
def test_a_large_file_is_read_and_packed_in_little_memory(tmp_path: Path) -> None:
    shapes = {"a": (2**25,), "b": (2**12, 2**13 - 1), "c": (2**12,)}  # 256 MiB, of holes
    with (tmp_path / "w").open("wb") as file:
        header = header_bytes(shapes, {})
        file.write(header)
        file.truncate(len(header) + 2**28)
    program = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from federation.parcel import Unpacked, pack, parcel_of, shards_in_file
        from model.tensor_file import TensorFile
        from model.tensors import pieces_of

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

        before, folder = peak(), Path(sys.argv[1])
        file = TensorFile(folder / "w")
        parcel_of(file)
        parcel = pack(folder / "packed", file, "int8")
        unpacked = Unpacked(parcel, shards_in_file(parcel, folder / "packed"))
        for piece in pieces_of(file.shapes):
            assert not np.any(unpacked.piece(piece))
        print(peak() - before)
    """
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80


def test_pieces_of_a_file_cover_it(path: Path) -> None:
    file = TensorFile(path)
    found = sum(file.piece(piece).size for piece in pieces_of(file.shapes, max_values=2))
    assert found == 6 + 1 + 7
