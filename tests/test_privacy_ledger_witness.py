"""Receipts: a ledger that was put back, shortened or exchanged is noticed by whoever saw it before."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.accounting.phase import Phase
from privacy.ledger.chain import Head
from privacy.ledger.chain_writer import open_chain
from privacy.ledger.ledger import open_ledger, round_key
from privacy.ledger.receipts import keep_receipt, read_receipts, receipts_path
from privacy.ledger.verification import problems_of
from privacy.ledger.witness import (
    LedgerRolledBack,
    Receipt,
    ReceiptInvalid,
    check_signature,
    parse_receipt,
    receipt_text,
    sign_receipt,
)

STUDY = "ab" * 32
PHASE = Phase(noise_multiplier=2.0, sample_rate=0.01, num_steps=10)
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))


def receipt_for(head: Head, *, round_number: int = 1, site_name: str = "north") -> Receipt:
    """The coordinator's word for a head."""
    plain = Receipt(
        head=head,
        study_digest=STUDY,
        round_number=round_number,
        site_name=site_name,
        witness="coordinator",
        seconds=1_800_000_000,
    )
    return sign_receipt(plain, KEY)


def train(path: Path, number: int) -> Head:
    """One private round; gives the head that travels."""
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as ledger:
        ledger.reserve(round_key(STUDY, number), PHASE, study_digest=STUDY)
        return ledger.settle(round_key(STUDY, number), num_steps=10, released="0" * 64)


def hand_over(path: Path, receipt: Receipt, *, key: Ed25519PrivateKey = KEY) -> None:
    """A receipt arrives with an instruction."""
    with open_ledger(path, data_set="archive", delta=1e-5, cap=8.0) as ledger:
        ledger.keep(receipt, key.public_key(), site_name="north")


@pytest.fixture
def path(memory_path: Path) -> Path:
    """A ledger after two rounds, of which the second is witnessed."""
    path = memory_path / "ledger"
    train(path, 1)
    hand_over(path, receipt_for(train(path, 2), round_number=2))
    return path


def test_a_ledger_that_went_on_still_holds_what_was_witnessed(path: Path) -> None:
    train(path, 3)
    assert problems_of(path, data_set="archive", delta=1e-5) == ()
    (kept,) = read_receipts(path)
    assert kept.receipt.head.count == 5
    kept.check()


def test_a_ledger_cut_off_at_any_place_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    ends = [end for end, byte in enumerate(content[:-1], start=1) if byte == ord("\n")]
    assert len(ends) == 4
    for end in [0, *ends, *(end + 20 for end in ends)]:
        path.write_bytes(content[:end])
        (problem,) = problems_of(path, data_set="archive", delta=1e-5)
        assert "is not the ledger that was witnessed: coordinator signed its record 5" in problem
        with pytest.raises(LedgerRolledBack, match="data-protection officer restores the newest"):
            train(path, 9)
    path.write_bytes(content)
    train(path, 9)


def test_a_ledger_that_was_removed_or_begun_anew_is_noticed(path: Path) -> None:
    path.unlink()
    with pytest.raises(LedgerRolledBack, match="of 0 records"):
        train(path, 1)
    aside = receipts_path(path).rename(path.with_name("aside"))
    path.unlink()
    for number in (1, 2, 3):
        train(path, number)
    aside.rename(receipts_path(path))
    with pytest.raises(LedgerRolledBack, match="of 7 records"):
        train(path, 4)


def test_a_copy_of_the_whole_folder_that_was_put_back_is_noticed_when_the_next_receipt_arrives(
    path: Path,
) -> None:
    copies = {each: each.read_bytes() for each in (path, receipts_path(path))}
    head = train(path, 3)
    for each, content in copies.items():
        each.write_bytes(content)
    with pytest.raises(LedgerRolledBack, match="signed its record 7 after round 3 of study abab"):
        hand_over(path, receipt_for(head, round_number=3))
    with pytest.raises(LedgerRolledBack):  # and nothing is charged until it is mended
        train(path, 3)
    assert len(problems_of(path, data_set="archive", delta=1e-5)) == 1


def test_a_receipt_is_kept_once(path: Path) -> None:
    receipt = read_receipts(path)[0].receipt
    later = sign_receipt(replace(receipt, seconds=receipt.seconds + 5), KEY)
    for again in (receipt, later):
        hand_over(path, again)
    assert len(read_receipts(path)) == 1
    hand_over(path, receipt_for(receipt.head, round_number=3))
    assert len(read_receipts(path)) == 2


def test_a_receipt_of_another_hospital_or_signer_is_not_kept(path: Path) -> None:
    head = Head(count=9, digest="9" * 64)
    with pytest.raises(ReceiptInvalid, match="is another hospital's"):
        hand_over(path, receipt_for(head, site_name="south"))
    with pytest.raises(ReceiptInvalid, match="was not signed by coordinator"):
        hand_over(path, receipt_for(head), key=OTHER_KEY)
    assert len(read_receipts(path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"head": Head(count=4, digest="1" * 64)},
        {"head": Head(count=5, digest="2" * 64)},
        {"study_digest": "cd" * 32},
        {"round_number": 2},
        {"site_name": "south"},
        {"witness": "somebody"},
        {"seconds": 1},
        {"signature": ""},
        {"signature": "0" * 128},
    ],
)
def test_every_word_of_a_receipt_is_signed(change: dict[str, object]) -> None:
    receipt = receipt_for(Head(count=4, digest="2" * 64))
    check_signature(receipt, KEY.public_key())
    with pytest.raises(ReceiptInvalid, match="was not signed by"):
        check_signature(replace(receipt, **change), KEY.public_key())  # type: ignore[arg-type]


def test_a_receipt_travels_as_text() -> None:
    receipt = receipt_for(Head(count=4, digest="2" * 64))
    assert parse_receipt(receipt_text(receipt)) == receipt


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"count": 4}},
        {"head": {"count": "4", "digest": "2" * 64}},
        {"head": {"count": -4, "digest": "2" * 64}},
        {"head": {"count": True, "digest": "2" * 64}},
        {"head": {"count": 4, "digest": "short"}},
        {"head": None},
        {"study_digest": "../../etc"},
        {"round_number": 1.5},
        {"witness": "two\nlines"},
        {"signature": "z"},
        {"note": "more"},
    ],
)
def test_a_text_that_is_no_receipt_is_refused(change: dict[str, object]) -> None:
    content = asdict(receipt_for(Head(count=4, digest="2" * 64))) | change
    with pytest.raises(ReceiptInvalid):
        parse_receipt(json.dumps(content))
    for other in ("", "[]", "{}", "[" * 99999):
        with pytest.raises(ReceiptInvalid):
            parse_receipt(other)


def test_a_forged_receipt_among_those_kept_is_found(path: Path) -> None:
    forged = replace(read_receipts(path)[0].receipt, seconds=7, round_number=7)
    keep_receipt(path, forged, KEY.public_key())
    (problem,) = problems_of(path, data_set="archive", delta=1e-5)
    assert problem.startswith("a receipt of the ledger was not signed by coordinator: ")


def test_damage_to_the_receipts_is_found(path: Path) -> None:
    with open_chain(receipts_path(path)) as chain:
        chain.append({"key": "no key", "receipt": {}})
    (problem,) = problems_of(path, data_set="archive", delta=1e-5)
    assert "kept without the key" in problem
    content = bytearray(receipts_path(path).read_bytes())
    content[40] ^= 1
    receipts_path(path).write_bytes(content)
    (problem,) = problems_of(path, data_set="archive", delta=1e-5)
    assert "receipts is damaged at record 1" in problem
