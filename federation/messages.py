"""The messages of a round, and of the counting before a study, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from federation.statistics import Pair
from model.arrays import Arrays
from privacy.ledger.chain import Head
from privacy.ledger.witness import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """Coordinator to hospital: train these weights for one round and answer with the change."""

    study: str
    """The study as canonical JSON; its SHA-256 is the study's digest."""
    round_number: int
    """Counts from 1 through all stages."""
    weights: Arrays
    """What trains in this stage: the whole model, or the adapter."""
    base_digest: str = ""
    """Digest of the frozen model under an adapter; empty in a full stage."""
    base: Arrays | None = None
    """The frozen model itself, for a hospital that is not known to hold it."""
    site_number: int | None = None
    """What stands for this hospital in its conditions, 1 to 32; None for one that came after all were given."""
    receipt: Receipt | None = None
    """The head of this hospital's ledger as the coordinator last saw it, signed; None before the first."""
    witness_key: str = ""
    """The key that signs receipts: Ed25519, 64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Hospital to coordinator: what one round of local training changed."""

    study_digest: str
    round_number: int
    received_digest: str
    """Digest of the weights that were trained from."""
    change: Arrays
    """Trained tensors after local training minus the same tensors before it, fp32."""
    num_steps: int
    loss: float
    """Mean training loss over the round's steps. With privacy: noised and charged, or NaN."""
    held_out_loss: float
    """Loss of the received weights on the hospital's own held-out records; NaN if it holds none, or with privacy."""
    seconds: float
    """Wall time of the local training; 0 with privacy, as it tells how many patients were drawn."""
    num_records: int
    """Usable records, or 0 if the hospital does not share counts."""
    num_files: int
    """Files looked at, or 0 if the hospital does not share counts."""
    ledger: Head | None = None
    """With privacy: the hospital's ledger after this round was reserved in it."""


class RefusalCode(StrEnum):
    """Why a hospital does not train, or why its update is not admitted."""

    PROTOCOL = "protocol"
    STUDY = "study"
    BASE_MISSING = "base-missing"
    NO_CACHE = "no-cache"
    CACHE = "cache"
    COUNTS = "counts-not-shared"
    STATISTICS = "statistics-not-shared"
    INTERNAL = "internal"
    UNREADABLE = "unreadable"
    STALE = "stale"
    STEPS = "steps"
    TENSORS = "tensors"
    NOT_FINITE = "not-finite"
    NORM = "norm"
    POLICY = "policy"
    BUDGET = "budget"
    LEDGER = "ledger"
    REPLAY = "replay"
    NO_ANSWER = "no-answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A hospital's part in a round that does not count, and the reason, in words we wrote ourselves."""

    code: RefusalCode
    reason: str


Answer = Update | Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class CountsRequest:
    """Coordinator to hospital, before a study: how many patients of which kind?"""

    findings: tuple[str, ...]
    """The study's findings, in order; the hospital's cache has to hold the same."""
    pairs: tuple[Pair, ...] = ()
    """Attributes to be counted by two; a hospital gives as many of these tables as its policy lets out."""


Count = int | None
"""None: withheld."""
PairTables = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Count]]]]
"""First attribute -> second -> value of the first -> value of the second -> patients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteCounts:
    """Hospital to coordinator: its patients by attribute and value, small counts withheld."""

    num_patients: Count
    num_files: Count
    """Files looked at."""
    files: Mapping[str, Count]
    """Usable files, and others by the reason why they are not."""
    table: Mapping[str, Mapping[str, Count]]
    """Attribute -> value -> patients. Nobody is counted twice in an attribute, nor if the value is not known."""
    min_cell: int
    """Smaller counts are withheld; without noise, others are rounded down to a multiple of it."""
    epsilon: float | None
    """Everything in it is this differentially private for one patient; None: it carries no noise."""
    max_pairs: int = 0
    """Tables of two attributes that the hospital would ever give; the noise is made for that many."""
    pairs: PairTables = field(default_factory=dict)
    """Every pair that was asked for. Nobody is counted twice in a table; each value stands on the same record."""


CountsAnswer = SiteCounts | Refusal
