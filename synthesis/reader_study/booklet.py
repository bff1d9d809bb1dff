"""What one reader sees, in which order, and the key that tells what it was.

Readers get booklets, which name pictures by random marks; the key stays with whoever runs the study. Every
reader has marks and orders of their own, so that two readers cannot compare notes by them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from federation.files import write_file

FORMAT_VERSION = 1
KEY_NAME = "key.json"
READERS_FOLDER = "readers"

Kind = Literal["real", "synthetic"]


class NoStudy(ValueError):
    """A folder holds no key of a reader study."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"{folder} is not the folder of a reader study ({problem}): give the one that was written by typing "
            "fedcxr reader-study make"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Booklet:
    """One reader's pictures; nothing in it tells what is real."""

    study: str
    """Mark of the study."""

    reader: int
    """From 1 on."""

    marks: tuple[str, ...]
    """What stands for each picture of the study, by the picture's number."""

    presentations: tuple[tuple[int, ...], ...]
    """Numbers of the pictures in the order they are shown, once per presentation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What the pictures were, for the person who scores."""

    study: str
    seed: int
    """Decides the choice of radiographs, the noise and all orders."""

    num_presentations: int
    kinds: tuple[Kind, ...]
    """What each picture is, by its number."""

    marks: Mapping[int, tuple[str, ...]]
    """Reader -> what stands for each picture, by its number."""

    made_with: Mapping[str, str]
    """Digests of the model and the adapter, and how the synthetic ones were drawn."""

    format_version: int = FORMAT_VERSION

    def kind_of(self, reader: int) -> dict[str, Kind]:
        """Mark -> what it was, for one reader."""
        return dict(zip(self.marks[reader], self.kinds, strict=True))


def study_mark(seed: int, model_digest: str, num_pictures: int) -> str:
    """Sixteen digits that tell one study from another and do not tell the seed."""
    words = f"fedcxr reader study|{seed}|{model_digest}|{num_pictures}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def make_booklet(
    study: str, *, reader: int, num_pictures: int, num_presentations: int, seed: int
) -> Booklet:
    """Marks and orders for one reader.

    Args:
        study: mark of the study.
        reader: from 1 on.
        num_pictures: in the study.
        num_presentations: how often each picture is shown.
        seed: of the study, at least 0.
    """
    rng = np.random.default_rng([seed, reader])
    marks = rng.choice(16**8, size=num_pictures, replace=False).tolist()
    return Booklet(
        study=study,
        reader=reader,
        marks=tuple(f"{mark:08x}" for mark in marks),
        presentations=tuple(
            tuple(rng.permutation(num_pictures).tolist()) for _ in range(num_presentations)
        ),
    )


def write_key(folder: Path, key: Key) -> None:
    """Write the key so that only its owner can read it."""
    write_file(folder / KEY_NAME, (json.dumps(asdict(key), indent=2) + "\n").encode())


def read_key(folder: Path) -> Key:
    """Read what ``write_key`` wrote.

    Raises:
        NoStudy: there is none, or it is damaged.
    """
    path = folder / KEY_NAME
    if not path.is_file():
        raise NoStudy(folder, f"it has no {KEY_NAME}")
    try:
        content = json.loads(path.read_bytes())
        marks = {int(reader): tuple(marks) for reader, marks in content["marks"].items()}
        key = Key(**{**content, "kinds": tuple(content["kinds"]), "marks": marks})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NoStudy(folder, f"its {KEY_NAME} is damaged") from None
    if key.format_version != FORMAT_VERSION or not set(key.kinds) <= set(get_args(Kind)):
        raise NoStudy(folder, f"its {KEY_NAME} is from another version of the program")
    return key
