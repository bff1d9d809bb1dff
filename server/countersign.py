"""The coordinator's word on the ledgers of hospitals: it signs the head that came with a hospital's last update.

The receipt goes to the hospital with its next instruction. A hospital whose ledger is an old copy does not hold what was
signed, and stops; the coordinator sees the same when an update comes whose ledger has gone back.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.config import study_digest
from federation.files import write_file
from privacy.ledger.witness import Receipt, sign_receipt
from server.store import StudyStore

WITNESS = "coordinator"
KEY_NAME = "witness.key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Countersign:
    """Signs for one study."""

    store: StudyStore
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        """64 hexadecimal digits."""
        return self.key.public_key().public_bytes_raw().hex()

    def receipt_for(self, site: str) -> Receipt | None:
        """The head of a hospital's ledger as it was last seen, signed; None if none was."""
        seen = self.store.witnessed(site)
        if seen is None:
            return None
        receipt = Receipt(
            head=seen.head,
            study_digest=study_digest(self.store.study),
            round_number=seen.round_number,
            site_name=site,
            witness=WITNESS,
            seconds=int(time.time()),
        )
        return sign_receipt(receipt, self.key)


def witness_key(state_path: Path) -> Ed25519PrivateKey:
    """The coordinator's key for receipts (Ed25519); made on first use, kept for ever after."""
    path = state_path / KEY_NAME
    if not path.exists():
        write_file(path, Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
