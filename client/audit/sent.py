"""What left the hospital, as far as it still lies here: the updates that are kept to be sent again."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.kept import Finished, read_finished
from model.arrays import Arrays, digest_arrays
from privacy.ledger.book import Book
from privacy.ledger.ledger import round_key

NUMBERS = ("norm", "num_steps", "loss", "held_out_loss", "seconds", "num_records", "num_files")
"""Of an update. One that is NaN did not leave, nor a count or a time that is 0."""

Standing = Literal["settled", "reserved", "other content", "not charged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SentTensor:
    """One tensor of an update."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SentRound:
    """One update; its values stay out of every report."""

    study_digest: str
    round_number: int
    tensors: tuple[SentTensor, ...]
    sha256: str
    """Of all tensors, as the ledger has it."""
    numbers: tuple[str, ...]
    """Names of the numbers that left beside the tensors."""
    standing: Standing
    """In the ledger: paid for, paid for and not released, paid for as something else, or not paid for."""

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.num_bytes for tensor in self.tensors)


def kept_updates(state_path: Path, book: Book | None) -> tuple[SentRound, ...]:
    """The last updates of every study that this hospital took part in, by study and round."""
    folders = sorted((state_path / "studies").glob("*/round-" + "[0-9]" * 5))
    found = [read_finished(folder) for folder in folders]
    return tuple(_sent_round(finished, book) for finished in found if finished is not None)


def _sent_round(finished: Finished, book: Book | None) -> SentRound:
    update, change = finished.update, finished.change
    digest = digest_arrays(change)
    study, number = update.study_digest, update.round_number
    return SentRound(
        study_digest=study,
        round_number=number,
        tensors=_tensors(change),
        sha256=digest,
        numbers=tuple(name for name in NUMBERS if _left(getattr(update, name))),
        standing=_standing(book, round_key(study, number), digest),
    )


def _tensors(change: Arrays) -> tuple[SentTensor, ...]:
    return tuple(_tensor(name, change[name]) for name in sorted(change))


def _tensor(name: str, value: NDArray[np.float32]) -> SentTensor:
    return SentTensor(
        name=name,
        shape=value.shape,
        dtype=str(value.dtype),
        num_bytes=value.nbytes,
        sha256=digest_arrays({name: value}),
    )


def _standing(book: Book | None, key: str, digest: str) -> Standing:
    charge = None if book is None else book.charges.get(key)
    if charge is None:
        return "not charged"
    if charge.released is None:
        return "reserved"
    return "settled" if charge.released == digest else "other content"


def _left(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value) and value != 0
