"""Named float32 arrays: their digest, their file, and the check that they fit a network.

The file format is safetensors, which holds numbers and text only: reading a file from a stranger
cannot run code. Nothing here needs torch, so that a digest is cheap to check anywhere.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from model.tensors import Tensors, pieces_of

Arrays = Mapping[str, NDArray[np.float32]]
"""Parameter name -> value."""


class WrongModelFile(ValueError):
    """A file that cannot be used as part of a model."""

    def __init__(
        self, path: Path, problem: str, advice: str = "copy it again from where it came from"
    ) -> None:
        super().__init__(f"{path} {problem}: {advice}.")


class WrongTensor(ValueError):
    """A set of tensors that does not fit the network it is meant for."""

    def __init__(self, name: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"tensor {name} is {found}, expected {expected}: "
            "use weights that were made for this model size and these findings."
        )


def digest_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in the order of the names.

    Returns:
        64 hexadecimal digits; the same for every order of insertion and every memory layout.
    """
    if isinstance(arrays, Tensors):
        return _digest_by_pieces(arrays)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        little_endian = array.dtype.newbyteorder("<")
        digest.update(tensor_head(name, little_endian.str, array.shape))
        content = np.ascontiguousarray(array, dtype=little_endian)
        digest.update(content.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _digest_by_pieces(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for piece in pieces_of(tensors.shapes):
        if piece.start == 0:
            digest.update(tensor_head(piece.name, "<f4", tensors.shapes[piece.name]))
        digest.update(np.ascontiguousarray(tensors.piece(piece), "<f4").view(np.uint8).data)
    return digest.hexdigest()


def tensor_head(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What stands before a tensor's bytes in what is hashed."""
    return json.dumps([name, dtype, list(shape)]).encode() + b"\n"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new path in the same folder, and put what was written there in the place of ``path``.

    A reader of ``path`` sees the whole old file or the whole new one, also after a power cut. If
    the block raises, the old file stays.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)  # noqa: PTH105  os.replace is the name every reader knows
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def load_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a whole file of tensors.

    Raises:
        WrongModelFile: the file is missing, cut short, not safetensors, or not float32.
    """
    if not path.is_file():
        raise WrongModelFile(path, "does not exist")
    try:
        arrays: dict[str, NDArray[np.float32]] = load_file(path)
    except SafetensorError as err:
        raise WrongModelFile(path, "is not a complete safetensors file") from err
    except (KeyError, TypeError, AttributeError) as err:  # a number format that numpy lacks
        raise WrongModelFile(path, "holds numbers that are not float32") from err
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise WrongModelFile(path, "holds numbers that are not float32")
    return arrays


def check_same_tensors(
    arrays: Mapping[str, NDArray[np.generic]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Make sure that ``arrays`` has exactly the expected names and shapes, in float32.

    Raises:
        WrongTensor: for the first name, in alphabetical order, that is missing, unexpected, of
            another shape or of another dtype.
    """
    for name in sorted(arrays.keys() | expected.keys()):
        array, shape = arrays.get(name), expected.get(name)
        wanted = "no such tensor" if shape is None else f"float32 {shape}"
        found = "missing" if array is None else f"{array.dtype} {array.shape}"
        if wanted != found:
            raise WrongTensor(name, found=found, expected=wanted)


def _sync(path: Path) -> None:
    """Have the operating system bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
