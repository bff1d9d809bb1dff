"""A hospital's signature to its update: it covers all that is said, comes through the network, and is asked for where a key is known."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.messages import RefusalCode, Update
from federation.node_keys import make_node_key, read_public_key
from federation.parcel import pack_inline
from federation.signing import PrivateKey, load_private
from federation.update_signature import is_signed, sign_update
from federation.wire.header import Unreadable
from federation.wire.rounds import pack_answer, unpack_answer
from model.tensors import InMemory
from privacy.ledger.chain import Head
from server.admission import inspect_signature
from server.signers import signers_of

PLAN = "ab" * 32
PARCEL, CONTENT = pack_inline(InMemory({"w": np.ones(4, np.float32)}), "fp32")
OTHER, _ = pack_inline(InMemory({"w": np.zeros(4, np.float32)}), "fp32")
UPDATE = Update(
    study_digest="1" * 64,
    round_number=3,
    received_digest="2" * 64,
    change=PARCEL,
    content=CONTENT,
    norm=2.0,
    num_steps=5,
    loss=float("nan"),
    held_out_loss=0.1,
    seconds=0.0,
    num_records=7,
    num_files=8,
    ledger=Head(count=4, digest="3" * 64),
)
FORGED: dict[str, Any] = {
    "study_digest": "4" * 64,
    "round_number": 4,
    "received_digest": "4" * 64,
    "change": OTHER,
    "norm": 2.5,
    "num_steps": 6,
    "loss": 0.5,
    "held_out_loss": 0.2,
    "seconds": 1.0,
    "num_records": 700,
    "num_files": 9,
    "ledger": None,
    "signature": "00" * 100,
}


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return load_private(make_node_key(tmp_path, "north").private_path)


@pytest.fixture
def public(tmp_path: Path) -> bytes:
    return read_public_key(make_node_key(tmp_path, "north").public_path)


def test_a_signature_comes_through_the_network_and_is_always_the_same(
    key: PrivateKey, public: bytes
) -> None:
    signed = sign_update(UPDATE, key, plan_digest=PLAN)
    assert sign_update(UPDATE, key, plan_digest=PLAN) == signed
    received = unpack_answer(pack_answer(signed))
    assert isinstance(received, Update)
    assert is_signed(received, public, plan_digest=PLAN)


@pytest.mark.parametrize("field", sorted(FORGED))
def test_no_word_of_an_update_can_be_changed_under_its_signature(
    key: PrivateKey, public: bytes, field: str
) -> None:
    signed = sign_update(UPDATE, key, plan_digest=PLAN)
    forged = replace(signed, **{field: FORGED[field]})
    assert not is_signed(forged, public, plan_digest=PLAN)


def test_every_word_of_an_update_is_tried_above() -> None:
    """But the bytes, which the parcel's digests say, and the head of the log, which is signed on its own."""
    assert {field.name for field in fields(Update)} - {"content", "log"} == set(FORGED)


def test_a_signature_holds_for_one_plan_and_one_key(
    key: PrivateKey, public: bytes, tmp_path: Path
) -> None:
    signed = sign_update(UPDATE, key, plan_digest=PLAN)
    assert not is_signed(signed, public, plan_digest="cd" * 32)
    other = read_public_key(make_node_key(tmp_path / "other", "north").public_path)
    assert not is_signed(signed, other, plan_digest=PLAN)


def test_the_coordinator_asks_for_the_key_that_its_roster_has(
    key: PrivateKey, public: bytes, tmp_path: Path
) -> None:
    roster = tmp_path / "state" / "roster"
    roster.mkdir(parents=True)
    node = make_node_key(tmp_path, "north")
    (roster / "north.pub").write_bytes(node.public_path.read_bytes())
    signer: Callable[[str], bytes | None] = signers_of(tmp_path / "state")
    assert signer("north") == public
    assert signer("east") is None
    signed = sign_update(UPDATE, key, plan_digest=PLAN)
    assert inspect_signature(signed, signer("north"), plan_digest=PLAN) is None
    assert inspect_signature(UPDATE, signer("east"), plan_digest=PLAN) is None
    for bad in (UPDATE, replace(signed, num_records=700)):
        refusal = inspect_signature(bad, signer("north"), plan_digest=PLAN)
        assert refusal is not None
        assert refusal.code is RefusalCode.SIGNATURE


@pytest.mark.parametrize("written", ["0", "xy" * 20, "AB" * 60, "ab" * 400])
def test_what_is_no_signature_is_not_read(written: str) -> None:
    with pytest.raises(Unreadable, match="signature"):
        unpack_answer(pack_answer(replace(UPDATE, signature=written)))
