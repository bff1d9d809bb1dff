"""An outcome on its way out of a worker: bytes that can become an outcome again, and nothing else."""

import pickle
from collections.abc import Mapping
from enum import Enum
from io import BytesIO
from types import FunctionType
from typing import cast

import numpy as np

from client.dicom.header import DAMAGED_FILE_ERRORS
from client.dicom.outcome import Flag, Identity, Outcome, Radiograph, Report
from client.dicom.rejection import Reason, Rejection
from model.conditioning import Metadata

_PROTOCOL = 4
_ENOUGH_BYTES = 2**24
"""For an outcome besides its picture: a long structured report."""

_KINDS = (Radiograph, Report, Rejection, Reason, Flag, Identity, Metadata, frozenset)
_ARRAYS = (np.ndarray, np.dtype, cast("FunctionType", np.empty(0).__reduce__()[0]))
_PARTS: Mapping[tuple[str, str], object] = {
    (part.__module__, part.__name__): part for part in (*_KINDS, *_ARRAYS)
}
"""All that the bytes of an outcome may name."""


class NoOutcome(ValueError):
    """A worker said something else than what became of its file."""


def pack(outcome: Outcome) -> bytes:
    """The outcome as bytes."""
    message = BytesIO()
    _ByValue(message, _PROTOCOL).dump(outcome)
    return message.getvalue()


def unpack(message: bytes, *, image_size: int) -> Outcome:
    """The outcome that a worker packed.

    A file may have made a decoder do what its author wanted, so this calls nothing that a message names
    except the constructors of outcomes.

    Raises:
        NoOutcome: the message is not one, or its picture is not (image_size, image_size) of uint16.
    """
    try:
        outcome = _OutcomesOnly(BytesIO(message)).load()
    except (*DAMAGED_FILE_ERRORS, pickle.PickleError) as error:
        raise NoOutcome from error
    if not isinstance(outcome, Radiograph | Report | Rejection):
        raise NoOutcome
    if isinstance(outcome, Radiograph) and not _is_picture(outcome.image, image_size):
        raise NoOutcome
    return outcome


def max_bytes(image_size: int) -> int:
    """More than any outcome takes."""
    return _ENOUGH_BYTES + 2 * image_size**2


def _is_picture(image: object, image_size: int) -> bool:
    if not isinstance(image, np.ndarray):
        return False
    return bool(image.dtype == np.uint16) and image.shape == (image_size, image_size)


class _ByValue(pickle.Pickler):
    """Names a word of a list by its class and value; by itself, Python before 3.11.4 names `getattr`."""

    def reducer_override(self, part: object) -> tuple[type[Enum], tuple[object]]:
        """How a part is made again, if not in the usual way."""
        return (type(part), (part.value,)) if isinstance(part, Enum) else NotImplemented


class _OutcomesOnly(pickle.Unpickler):  # the standard library's only way to restrict what is loaded
    """Knows the parts of outcomes and no other name."""

    def find_class(self, module: str, name: str) -> object:
        """Look up in the list, and import nothing."""
        return _PARTS[module, name]
