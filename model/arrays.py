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
from safetensors.numpy import load_file, save_file

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
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        little_endian = array.dtype.newbyteorder("<")
        head = [name, little_endian.str, list(array.shape)]
        digest.update(json.dumps(head).encode() + b"\n")
        content = np.ascontiguousarray(array, dtype=little_endian)
        digest.update(content.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


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


def save_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write ``arrays`` to a safetensors file, atomically and durably.

    Args:
        path: where the file shall be; its folder exists.
        arrays: the tensors.
        metadata: short texts for a person who looks into the file; nothing reads them back.
    """
    contiguous = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    with replacing(path) as partial:
        # safetensors writes a file that it cannot read if there are neither tensors nor texts.
        save_file(contiguous, partial, metadata=dict(metadata) or None)


def load_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read what ``save_arrays`` wrote.

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
