"""Receipts: somebody outside the hospital signs the head of its ledger, so that an older copy of it is noticed.

A hash chain shows that nothing inside it changed, but not that its end is there: whoever puts last week's copy back
has a sound chain that has forgotten a week. The head travels with every update; the coordinator signs it (Ed25519, RFC
8032, https://www.rfc-editor.org/rfc/rfc8032) and sends the receipt back. A ledger that does not hold the head of a receipt is not the
one that was witnessed.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.ledger.chain import Chain, Head

PURPOSE = "fedcxr ledger receipt 1\n"
"""Signed with every receipt, so that no signature for anything else can pass for one."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,80}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class ReceiptInvalid(ValueError):
    """Something that is no receipt, or that its witness did not sign."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"a receipt of the ledger {why}: the coordinator's operator checks which key signs receipts"
        )


class LedgerRolledBack(RuntimeError):
    """A witness saw a state of this ledger that it does not hold."""

    def __init__(self, path: Path, *, receipt: "Receipt", count: int) -> None:
        super().__init__(
            f"{path} is not the ledger that was witnessed: {receipt.witness} signed its record {receipt.head.count} after "
            f"round {receipt.round_number} of study {receipt.study_digest[:12]}, and the ledger here, of {count} records, "
            "does not hold it. An old copy was put back, or another file is named. Nothing is trained on this data "
            "set: the data-protection officer restores the newest copy of the ledger"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A witness's word that a hospital's ledger had this head."""

    head: Head
    study_digest: str
    round_number: int
    """Round with whose update the head came."""
    site_name: str
    """Whose ledger it is."""
    witness: str
    """Who signs."""
    seconds: int
    """When it was signed, in seconds since 1970, UTC."""
    signature: str = ""
    """Ed25519, 128 hexadecimal digits."""

    def __post_init__(self) -> None:
        hexadecimal = (self.head.digest, self.study_digest)
        if not all(_DIGEST.fullmatch(digest) for digest in hexadecimal):
            raise ReceiptInvalid("names no head or no study")
        if not (_NAME.fullmatch(self.site_name) and _NAME.fullmatch(self.witness)):
            raise ReceiptInvalid("names no hospital or no witness")
        if min(self.head.count, self.round_number, self.seconds) < 0:
            raise ReceiptInvalid("has a number below 0")
        if self.signature and not _SIGNATURE.fullmatch(self.signature):
            raise ReceiptInvalid("has a signature of another kind")


def sign_receipt(receipt: Receipt, key: Ed25519PrivateKey) -> Receipt:
    """The same receipt with the witness's signature."""
    return replace(receipt, signature=key.sign(_signed_bytes(receipt)).hex())


def check_signature(receipt: Receipt, key: Ed25519PublicKey) -> None:
    """Make sure that the witness signed exactly this.

    Raises:
        ReceiptInvalid: it did not.
    """
    try:
        key.verify(bytes.fromhex(receipt.signature), _signed_bytes(receipt))
    except InvalidSignature as err:
        raise ReceiptInvalid(f"was not signed by {receipt.witness}") from err


def check_on_chain(chain: Chain, receipts: Iterable[Receipt], path: Path) -> None:
    """Make sure that a ledger holds every head that was witnessed.

    Raises:
        LedgerRolledBack: it does not.
    """
    for receipt in receipts:
        if not chain.holds(receipt.head):
            raise LedgerRolledBack(path, receipt=receipt, count=chain.head.count)


def receipt_text(receipt: Receipt) -> str:
    """A receipt as one line of JSON, for a message or a file."""
    return json.dumps(asdict(receipt), sort_keys=True)


def parse_receipt(text: str) -> Receipt:
    """A receipt that travelled as text.

    Raises:
        ReceiptInvalid: it is none.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ReceiptInvalid("is not JSON") from err
    return receipt_of(content)


def receipt_of(content: object) -> Receipt:
    """Plain content as a receipt; nothing of it is believed.

    Raises:
        ReceiptInvalid: it is none.
    """
    kinds = {name: (int if name in _NUMBERS else str) for name in _FIELDS}
    if not isinstance(content, dict) or set(content) != {"head", *kinds}:
        raise ReceiptInvalid("has other fields than a receipt")
    head = content["head"]
    if not isinstance(head, dict) or set(head) != {"count", "digest"}:
        raise ReceiptInvalid("has other fields than a receipt")
    flat = {**head, **{name: content[name] for name in kinds}}
    kinds |= {"count": int, "digest": str}
    if any(type(value) is not kinds[name] for name, value in flat.items()):
        raise ReceiptInvalid("has other fields than a receipt")
    return Receipt(head=Head(**head), **{name: content[name] for name in _FIELDS})


_NUMBERS = ("round_number", "seconds")
_FIELDS = ("study_digest", "round_number", "site_name", "witness", "seconds", "signature")


def _signed_bytes(receipt: Receipt) -> bytes:
    """One spelling per receipt, without its signature."""
    content = asdict(replace(receipt, signature=""))
    return (PURPOSE + json.dumps(content, sort_keys=True, separators=(",", ":"))).encode()
