"""The messages of a round, and of the counting before a study, as plain data."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from federation.log_witness import LogWitness, SignedHead
from federation.parcel import Parcel
from federation.plan import SignedPlan
from federation.statistics import Pair
from privacy.ledger.chain import Head
from privacy.ledger.witness import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """Leave to fetch, or to leave, some shards of one parcel, for a while."""

    links: tuple[str, ...]
    """One per shard that is asked for, in order: a path at the coordinator, or the signed URL of a bucket."""
    token: str
    """What opens the coordinator's own paths; empty for a bucket."""
    expires: int
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxTicket:
    """Leave to open a box for one change at the coordinator, and to leave the change there before it is asked for."""

    link: str
    """Path of the owner's boxes at the coordinator; `own_boxes.own_box` makes one of it for each parcel."""
    token: str
    expires: int
    """Seconds since 1970, UTC."""
    max_bytes: int
    """Of the change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A cheaper way to some tensors, for a hospital that holds the ones before them: what is added to those."""

    from_digest: str
    """Of the tensors that it is added to; those that it does not name stay as they are."""
    parcel: Parcel
    ticket: Ticket | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipment:
    """Tensors for a hospital, and every way to get them: they are inside, or it holds them, or it fetches them."""

    digest: str
    """Of the tensors (``digest_arrays``)."""
    parcel: Parcel
    """The tensors as they are, fp32."""
    content: bytes | None = None
    """All shards, one after the other; None if they do not travel inside the message."""
    ticket: Ticket | None = None
    """For all shards; None if they cannot be fetched."""
    step: Step | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """Coordinator to hospital: train these weights for one round and answer with the change."""

    study: str
    """The study as canonical JSON; its SHA-256 is the study's digest."""
    round_number: int
    """Counts from 1 through all stages."""
    weights: Shipment
    """What trains in this stage: the whole model, or the adapter."""
    base: Shipment | None = None
    """The frozen model under an adapter; None in a full stage."""
    site_number: int | None = None
    """What stands for this hospital in its conditions, 1 to 32; None for one that came after all were given."""
    receipt: Receipt | None = None
    """The head of this hospital's ledger as the coordinator last saw it, signed; None before the first."""
    witness_key: str = ""
    """The key that signs receipts: Ed25519, 64 hexadecimal digits."""
    plan: SignedPlan | None = None
    """What the hospital has to have approved before anything else is looked at; None is refused."""
    log_witness: LogWitness | None = None
    """The last that the coordinator saw of this hospital's log of evidence, signed; None before the first."""
    box: BoxTicket | None = None
    """Where a change of few bytes can be left at once; None: it is sent for once it is admitted."""

    @property
    def study_digest(self) -> str:
        """Of the study."""
        return hashlib.sha256(self.study.encode()).hexdigest()

    @property
    def base_digest(self) -> str:
        """Digest of the frozen model under an adapter; empty in a full stage."""
        return self.base.digest if self.base else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Hospital to coordinator: what one round of local training changed."""

    study_digest: str
    round_number: int
    received_digest: str
    """Digest of the weights that were trained from."""
    change: Parcel
    """Trained tensors after local training minus the same tensors before it."""
    content: bytes | None = None
    """The change's shards, one after the other; None if the coordinator has to send for them."""
    norm: float
    """L2 norm of the change as its shards say it."""
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
    signature: str = ""
    """By the key of the hospital's node, to all of this and to its plan (`update_signature`); empty until it is sent."""
    log: SignedHead | None = None
    """The hospital's log of evidence as it was when this was sent; None where it cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRequest:
    """Coordinator to hospital: leave some shards of a finished update where the ticket says."""

    study_digest: str
    round_number: int
    parcel_digest: str
    """Of the update's change (`Parcel.digest`)."""
    shards: tuple[int, ...]
    """Numbers of the shards, ascending."""
    ticket: Ticket


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """Hospital to coordinator: all of the shards that were asked for are there."""

    parcel_digest: str


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
    NOT_KEPT = "not-kept"
    TRANSFER = "transfer"
    """Bytes could not be moved in time; asked again, it goes on."""
    BLOCKED = "blocked"
    """Bytes cannot be moved until somebody does something about it."""
    DISK = "disk"
    """The hospital's disk is full, or cannot be written."""
    EVIDENCE = "evidence"
    """The hospital cannot write down what it does, so it does nothing."""
    SIGNATURE = "signature"
    """The update is not signed by the key that the roster knows."""
    NO_ANSWER = "no-answer"
    PLAN = "plan"
    """The signed plan does not cover what is asked for, or is not in force."""
    UNAPPROVED = "unapproved"
    """Nobody at the hospital has approved the plan yet; asked again, it may be."""
    PAUSED = "paused"
    """The hospital takes no part for now; asked again, it may."""
    WITHDRAWN = "withdrawn"
    """The hospital has left the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A hospital's part in a round that does not count, and the reason, in words we wrote ourselves."""

    code: RefusalCode
    reason: str
    log: SignedHead | None = None
    """As for an update."""


Answer = Update | Refusal
Delivery = Delivered | Refusal


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
