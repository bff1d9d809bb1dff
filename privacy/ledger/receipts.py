"""The receipts that a hospital keeps beside its ledger: a chain of their own, each with the key that signed it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.ledger.chain import Chain, Record, read_chain
from privacy.ledger.chain_writer import open_chain
from privacy.ledger.witness import Receipt, ReceiptInvalid, check_signature, receipt_of


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptReceipt:
    """A receipt and the public key that it was checked with."""

    receipt: Receipt
    key: str
    """Ed25519, 64 hexadecimal digits."""

    def check(self) -> None:
        """Check the signature again.

        Raises:
            ReceiptInvalid: the witness did not sign this.
        """
        check_signature(self.receipt, Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key)))


def receipts_path(ledger_path: Path) -> Path:
    """Where the receipts of a ledger are kept."""
    return ledger_path.with_name(f"{ledger_path.name}.receipts")


def read_receipts(ledger_path: Path) -> tuple[KeptReceipt, ...]:
    """All receipts of a ledger, in the order in which they came.

    Raises:
        ChainDamaged: the file with the receipts is not what was written.
        ReceiptInvalid: it holds something else.
    """
    path = receipts_path(ledger_path)
    return _kept_in(read_chain(path)) if path.exists() else ()


def keep_receipt(ledger_path: Path, receipt: Receipt, key: Ed25519PublicKey) -> None:
    """Put a receipt beside the ledger, unless it is there already.

    Raises:
        ChainInUse: another process does so.
        ChainDamaged: the file with the receipts is not what was written.
    """
    kept = KeptReceipt(receipt=receipt, key=key.public_bytes_raw().hex())
    with open_chain(receipts_path(ledger_path)) as writer:
        if not _is_known(receipt, _kept_in(writer.chain)):
            writer.append({"key": kept.key, "receipt": asdict(receipt)})


def _is_known(receipt: Receipt, kept: Sequence[KeptReceipt]) -> bool:
    """A witness that signs the same head for the same round again says nothing new."""
    return any(
        (
            each.receipt.head,
            each.receipt.study_digest,
            each.receipt.round_number,
            each.receipt.witness,
        )
        == (receipt.head, receipt.study_digest, receipt.round_number, receipt.witness)
        for each in kept
    )


def _kept_in(chain: Chain) -> tuple[KeptReceipt, ...]:
    return tuple(_kept(record) for record in chain.records)


def _kept(record: Record) -> KeptReceipt:
    key = record.get("key")
    if not isinstance(key, str) or len(key) != 64:
        raise ReceiptInvalid("is kept without the key that signed it")
    return KeptReceipt(receipt=receipt_of(record.get("receipt")), key=key)
