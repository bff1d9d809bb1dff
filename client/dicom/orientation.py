"""How the chest lies in the picture, from PatientOrientation, and how to lay it upright.

A person looking at a frontal radiograph faces the patient: rows run to the patient's left, columns to the
feet. Turning never changes what is seen. Mirroring does: it moves the heart to the other side.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.header import values_of
from client.dicom.rejection import Reason, Refused

_Kind = TypeVar("_Kind", bound=np.generic)

_AXES = {"L": "sides", "R": "sides", "A": "depth", "P": "depth", "H": "height", "F": "height"}


class Turn(IntEnum):
    """What lays a picture upright."""

    NONE = 0
    LEFT = 1
    """A quarter turn against the clock."""
    HALF = 2
    RIGHT = 3
    """A quarter turn with the clock."""
    FLIP = 4
    """The first row becomes the last."""

    def of(self, picture: NDArray[_Kind]) -> NDArray[_Kind]:
        """The picture, or anything else of shape (row, column), laid upright."""
        return picture[::-1] if self is Turn.FLIP else np.rot90(picture, int(self))

    @property
    def is_sideways(self) -> bool:
        """Whether rows become columns."""
        return self in {Turn.LEFT, Turn.RIGHT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """Where the rows and the columns of the picture run, one letter each: L R A P H F, or both empty."""

    row: str
    """Towards the patient's left, right, front (A), back (P), head or feet."""
    column: str

    @property
    def is_lateral(self) -> bool:
        """Rows or columns run from front to back, or from back to front."""
        return bool({self.row, self.column} & {"A", "P"})

    @property
    def is_frontal(self) -> bool:
        """Rows or columns run from side to side."""
        return bool({self.row, self.column} & {"L", "R"})


UNKNOWN = Orientation(row="", column="")

_FRONTAL_TURNS = {
    "LF": Turn.NONE,
    "LH": Turn.FLIP,
    "RH": Turn.HALF,
    "FR": Turn.RIGHT,
    "HL": Turn.LEFT,
}
# Either side may face the beam, so that a lateral picture is never mirrored.
_LATERAL_TURNS = {"AF": Turn.NONE, "PF": Turn.NONE, "AH": Turn.HALF, "PH": Turn.HALF} | {
    "FA": Turn.RIGHT,
    "FP": Turn.RIGHT,
    "HA": Turn.LEFT,
    "HP": Turn.LEFT,
}


def orientation_of(header: Dataset) -> Orientation:
    """Read PatientOrientation; unknown if it is missing, malformed, or not of a standing picture."""
    directions = [
        str(value).strip().upper()[:1] for value in values_of(header, "PatientOrientation")
    ]
    axes = [_AXES.get(direction) for direction in directions]
    if len(axes) != 2 or None in axes or axes[0] == axes[1] or "height" not in axes:
        return UNKNOWN
    return Orientation(row=directions[0], column=directions[1])


def turn_of(orientation: Orientation) -> Turn:
    """What lays the picture upright.

    A picture that would have to be mirrored is refused: in practice the tag is wrong about as often as
    the picture, and a heart on the wrong side teaches worse than a missing record. Upside down alone
    (L and H) is put right, as machines with plates in a drawer write it.

    Raises:
        Refused: it would have to be mirrored.
    """
    if orientation == UNKNOWN:
        return Turn.NONE
    turns = _LATERAL_TURNS if orientation.is_lateral else _FRONTAL_TURNS
    turn = turns.get(orientation.row + orientation.column)
    if turn is None:
        raise Refused(Reason.MIRRORED)
    return turn
