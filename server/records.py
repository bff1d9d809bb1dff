"""What the coordinator remembers of rounds and of hospitals, row by row."""

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.ledger.chain import Head


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One hospital's part in one round."""

    number: int
    site: str
    attempt: int
    state: str
    """``asked``, ``admitted``, ``refused``, or ``waiting`` for somebody at the hospital."""
    code: str = ""
    reason: str = ""
    loss: float | None = None
    held_out_loss: float | None = None
    seconds: float | None = None
    norm: float | None = None
    """L2 norm of the change."""
    num_records: int = 0
    num_files: int = 0
    bytes_down: int = 0
    """Of tensors, in messages and beside them; what a bucket gave to hospitals is not known here."""
    bytes_up: int = 0
    time: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """One committed round."""

    number: int
    stage: int
    digest: str
    """Of every tensor that the round left behind."""
    base_digest: str
    loss: float | None
    held_out_loss: float | None
    num_sites: int
    seconds: float
    committed: float
    gap: float | None = None
    """Rule ``joint``: how far the product of the mean factors is from the mean product, relative to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A round whose tensors lie complete in the open folder, but which does not count yet."""

    number: int
    digests: Mapping[str, str]
    """Name of each file, such as ``weights``, to the digest of its tensors."""
    base_digest: str
    shards: tuple[str, ...] = ()
    """Digest of every shard of the weights."""
    gap: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Witnessed:
    """How far a hospital's ledger went in a round."""

    head: Head
    round_number: int
