"""A hospital's signature to its update, so that nobody between it and the arithmetic can put in another.

It covers everything that the update says, the digest of its change, and the plan that it was made under. The key is
the one by which the coordinator's roster knows the hospital's node.
"""

import json
import re
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from federation.messages import Update
from federation.signing import PrivateKey, verify

PURPOSE = "fedcxr update 1\n"
"""Signed with every update, so that no signature for anything else can pass for one."""
SIGNATURE = re.compile(r"([0-9a-f]{2}){8,150}")


def sign_update(update: Update, key: PrivateKey, *, plan_digest: str) -> Update:
    """The same update with its signature; the same bytes whenever it is signed again (RFC 6979).

    Args:
        update: what leaves.
        key: of the hospital's node.
        plan_digest: of the plan that it leaves under; empty for none.
    """
    content = signed_bytes(update, plan_digest=plan_digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(content, ec.ECDSA(SHA384(), deterministic_signing=True))
    else:
        signature = key.sign(content)
    return replace(update, signature=signature.hex())


def is_signed(update: Update, public_key: bytes, *, plan_digest: str) -> bool:
    """Whether the holder of this public key (PEM) signed exactly this update under this plan."""
    if not SIGNATURE.fullmatch(update.signature):
        return False
    content = signed_bytes(update, plan_digest=plan_digest)
    return verify(public_key, content, bytes.fromhex(update.signature))


def signed_bytes(update: Update, *, plan_digest: str) -> bytes:
    """One spelling per update and plan."""
    content = {
        "plan": plan_digest,
        "study": update.study_digest,
        "round": update.round_number,
        "received": update.received_digest,
        "change": update.change.digest,
        "norm": float(update.norm),
        "num_steps": update.num_steps,
        "loss": float(update.loss),
        "held_out_loss": float(update.held_out_loss),
        "seconds": float(update.seconds),
        "num_records": update.num_records,
        "num_files": update.num_files,
        "ledger": [update.ledger.count, update.ledger.digest] if update.ledger else [],
    }
    return (PURPOSE + json.dumps(content, sort_keys=True, separators=(",", ":"))).encode()
