"""A receipt for everything that leaves: what it is, to the byte, what it cost, and under which plan it goes.

It is written and signed before the first byte of a change is handed on, and kept when the change itself is long gone.
A receipt names the state of the log in which it was written, and the log names the receipt, so neither can be
shortened without the other showing it. Every one is whole or not there:

    draft -> noted in the log -> in place -> the change may leave
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from client.evidence import log
from client.evidence.log import Event, Facts
from federation.files import hold_lock, sync_folder, write_file
from federation.messages import Update
from federation.node_keys import NodeKey, read_public_key
from federation.signing import load_private, sign, verify
from privacy.ledger.chain import Head

FORMAT = 1
PURPOSE = "fedcxr egress receipt 1\n"
"""Signed with every receipt, so that no signature for anything else can pass for one."""
RECEIPTS = "receipts"
NUMBERS = ("num_steps", "loss", "held_out_loss", "seconds", "num_records", "num_files")
"""Of an update, besides its norm. One that is NaN or 0 says nothing, and is not in the receipt."""
LOCK_SECONDS = 20.0


class ReceiptDamaged(RuntimeError):
    """A file among the receipts that is none."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a receipt as it was written: the hospital's IT restores it from its newest backup"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What left with one update."""

    site_name: str
    study_name: str
    study_digest: str
    plan_digest: str
    """Empty where there is no plan."""
    round_number: int
    received_digest: str
    """Of the weights that were trained from."""
    parcel_digest: str
    """SHA-256 over names, shapes and the shards' digests: equal ones have equal bytes."""
    encoding: str
    tensors: Mapping[str, tuple[int, ...]]
    """Name and shape of each."""
    shards: tuple[str, ...]
    """SHA-256 of each one's bytes."""
    num_bytes: int
    """Of all shards."""
    norm: float | None
    """L2 norm of the change; None if it is no number."""
    numbers: Mapping[str, float]
    """What else was told."""
    epsilon: float | None
    """Everything that this data set ever spent, this round included; None without privacy."""
    ledger: Head | None
    """The privacy ledger when the round was reserved; None without privacy."""
    log: Head
    """The hospital's log just before this."""
    seconds: int
    """When it was written, in seconds since 1970, UTC."""
    release: str
    """Of this program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A receipt as it lies in the hospital's state."""

    path: Path
    receipt: Receipt
    signature: bytes
    key: str
    """The public key that signed it, PEM."""

    @property
    def digest(self) -> str:
        """SHA-256 of what was signed, in hex; the log names it."""
        return hashlib.sha256(signed_bytes(self.receipt)).hexdigest()

    @property
    def key_digest(self) -> str:
        """SHA-256 of the public key, in hex; the log names it too."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def is_draft(self) -> bool:
        """Whether its maker was stopped before it counted."""
        return self.path.suffix == ".draft"

    def is_signed(self) -> bool:
        """Whether its key signed exactly this."""
        return verify(self.key.encode(), signed_bytes(self.receipt), self.signature)


def receipt_of(
    update: Update,
    *,
    site_name: str,
    study_name: str,
    plan: str,
    epsilon: float | None,
    log_head: Head,
) -> Receipt:
    """What a receipt says of an update.

    Args:
        update: what leaves; its values are not read.
        site_name: whose it is.
        study_name: for people.
        plan: digest of the plan it goes under; empty for none.
        epsilon: what the data set has spent with it; None without privacy.
        log_head: the log as it is now.
    """
    change, told = update.change, {name: float(getattr(update, name)) for name in NUMBERS}
    return Receipt(
        site_name=site_name,
        study_name=study_name,
        study_digest=update.study_digest,
        plan_digest=plan,
        round_number=update.round_number,
        received_digest=update.received_digest,
        parcel_digest=change.digest,
        encoding=change.encoding,
        tensors=dict(sorted(change.shapes.items())),
        shards=change.digests,
        num_bytes=change.num_bytes,
        norm=update.norm if math.isfinite(update.norm) else None,
        numbers={name: value for name, value in told.items() if value and math.isfinite(value)},
        epsilon=epsilon if epsilon is not None and math.isfinite(epsilon) else None,
        ledger=update.ledger,
        log=log_head,
        seconds=int(time.time()),
        release=version("fedcxr"),
    )


def issue(state_path: Path, receipt: Receipt, key: NodeKey, more: Facts | None = None) -> Kept:
    """Sign, note in the log, and keep; asked again for the same change, it gives what there is.

    Args:
        state_path: the hospital's state folder.
        receipt: of what is to leave.
        key: of the hospital's node.
        more: what the log says beside it.

    Raises:
        ChainDamaged: the log is not as it was written.
        ReceiptDamaged: there is a file of this receipt's name that is none.
        OSError: the disk did not take it.
    """
    place = path_of(state_path, receipt)
    with hold_lock(place.parent / "lock", patience_seconds=LOCK_SECONDS):
        if place.exists():
            return read(place)
        draft = place.with_suffix(".draft")
        kept = read(draft) if draft.exists() else _write(draft, receipt, key)
        if kept.digest not in noted(state_path):
            _note(state_path, kept, more or {})
        draft.rename(place)
        sync_folder(place.parent)
    return read(place)


def is_issued(state_path: Path, update: Update) -> bool:
    """Whether a change has its receipt."""
    return _path(
        state_path, update.study_digest, update.round_number, update.change.digest
    ).exists()


def kept_receipts(state_path: Path) -> tuple[Kept, ...]:
    """Every receipt, oldest first, drafts among them.

    Raises:
        ReceiptDamaged: there is a file that is none.
    """
    folder = state_path / log.FOLDER / RECEIPTS
    paths = [*folder.glob("*.json"), *folder.glob("*.draft")]
    return tuple(
        sorted(map(read, paths), key=lambda kept: (kept.receipt.log.count, kept.path.name))
    )


def noted(state_path: Path) -> Mapping[str, str]:
    """Receipts that the log names: their digests, and the digests of the keys that signed them.

    Raises:
        ChainDamaged: the log is not as it was written.
    """
    left = [each for each in log.entries(state_path) if each.event is Event.CHANGE_LEFT]
    return {str(each.facts.get("receipt")): str(each.facts.get("key")) for each in left}


def read(path: Path) -> Kept:
    """One receipt from its file; its signature is not looked at.

    Raises:
        ReceiptDamaged: it is none.
    """
    try:
        content = json.loads(path.read_text())
        fields = dict(content["receipt"])
        if fields.pop("format") != FORMAT:
            raise ReceiptDamaged(path)
        fields["tensors"] = {name: tuple(shape) for name, shape in fields["tensors"].items()}
        fields["shards"] = tuple(fields["shards"])
        fields["ledger"] = None if fields["ledger"] is None else Head(**fields["ledger"])
        fields["log"] = Head(**fields["log"])
        receipt, signature = Receipt(**fields), bytes.fromhex(content["signature"])
        return Kept(path=path, receipt=receipt, signature=signature, key=str(content["key"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise ReceiptDamaged(path) from err


def path_of(state_path: Path, receipt: Receipt) -> Path:
    """Where a receipt is kept."""
    return _path(state_path, receipt.study_digest, receipt.round_number, receipt.parcel_digest)


def signed_bytes(receipt: Receipt) -> bytes:
    """One spelling per receipt."""
    return f"{PURPOSE}{_json(receipt_facts(receipt))}".encode()


def receipt_facts(receipt: Receipt) -> Mapping[str, object]:
    """A receipt as plain data."""
    return {"format": FORMAT, **asdict(receipt)}


def _write(path: Path, receipt: Receipt, key: NodeKey) -> Kept:
    content = {
        "receipt": receipt_facts(receipt),
        "signature": sign(load_private(key.private_path), signed_bytes(receipt)).hex(),
        "key": read_public_key(key.public_path).decode(),
    }
    write_file(path, f"{_json(content)}\n".encode())
    return read(path)


def _note(state_path: Path, kept: Kept, more: Facts) -> None:
    receipt = kept.receipt
    facts: dict[str, log.Fact] = {
        "study": receipt.study_name,
        "round": receipt.round_number,
        "bytes": receipt.num_bytes,
        "parcel": receipt.parcel_digest,
        "receipt": kept.digest,
        "key": kept.key_digest,
        **more,
    }
    if receipt.epsilon is not None:
        facts["epsilon"] = receipt.epsilon
    log.note(
        state_path, Event.CHANGE_LEFT, actor=log.PROGRAM, plan=receipt.plan_digest, facts=facts
    )


def _path(state_path: Path, study_digest: str, number: int, parcel_digest: str) -> Path:
    name = f"{study_digest[:12]}-{number:05d}-{parcel_digest[:12]}.json"
    return state_path / log.FOLDER / RECEIPTS / name


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
