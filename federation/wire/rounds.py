"""What a round asks of a hospital, and what the hospital answers."""

import re
from dataclasses import replace

from flwr.app import RecordDict

from federation.log_witness import (
    LogWitness,
    SignedHead,
    WitnessInvalid,
    parse_witness,
    witness_text,
)
from federation.messages import Answer, Instruction, Refusal, Update
from federation.plan import SignedPlan
from federation.update_signature import SIGNATURE
from federation.wire.header import (
    HEX_32_BYTES,
    Fields,
    Header,
    Unreadable,
    digest,
    fields_of,
    header_of,
    number,
    put_part,
    refusal_fields,
    refusal_in,
    text,
    whole,
    with_header,
)
from federation.wire.parcels import (
    box_fields,
    box_in,
    content_in,
    parcel_in,
    put_parcel,
    put_shipment,
    shipment_in,
)
from model.conditioning import NULL, NUM_SITES
from privacy.ledger.chain import Head
from privacy.ledger.witness import Receipt, ReceiptInvalid, parse_receipt, receipt_text

LEDGER_HEAD = re.compile(r"(\d{1,15}) ([0-9a-f]{64})")
LOG_HEAD = re.compile(rf"{LEDGER_HEAD.pattern} ({SIGNATURE.pattern})")


def pack_instruction(instruction: Instruction) -> RecordDict:
    """Encode for the coordinator's outgoing message."""
    header: Fields = {
        "study": instruction.study,
        "round_number": instruction.round_number,
        "has_base": instruction.base is not None,
        "site_number": instruction.site_number or NULL,
        "receipt": receipt_text(instruction.receipt) if instruction.receipt else "",
        "witness_key": instruction.witness_key,
        "plan": instruction.plan.text if instruction.plan else "",
        "plan_signature": instruction.plan.signature if instruction.plan else b"",
        "log_witness": witness_text(instruction.log_witness) if instruction.log_witness else "",
    }
    record = with_header(header)
    if instruction.box is not None:
        put_part(record, "box", box_fields(instruction.box))
    put_shipment(record, "weights", instruction.weights)
    if instruction.base is not None:
        put_shipment(record, "base", instruction.base)
    return record


def unpack_instruction(record: RecordDict) -> Instruction:
    """Decode at the hospital.

    Raises:
        ProtocolMismatch: if the coordinator runs another release.
        Unreadable: if a field is missing or of another kind.
    """
    header = header_of(record)
    site_number, has_base = whole(header, "site_number"), header.get("has_base")
    if not isinstance(has_base, bool):
        raise Unreadable("has_base")
    if site_number > NUM_SITES:
        raise Unreadable("site_number")
    return Instruction(
        study=text(header, "study"),
        round_number=whole(header, "round_number"),
        weights=shipment_in(record, "weights"),
        base=shipment_in(record, "base") if has_base else None,
        site_number=site_number or None,
        receipt=_receipt(header),
        witness_key=_witness_key(header),
        plan=_plan(header),
        log_witness=_log_witness(header),
        box=box_in(record, "box"),
    )


def pack_answer(answer: Answer) -> RecordDict:
    """Encode for the hospital's reply."""
    if isinstance(answer, Refusal):
        return with_header({**refusal_fields(answer), "log": _log_fields(answer)})
    fields: Fields = {
        "study_digest": answer.study_digest,
        "round_number": answer.round_number,
        "received_digest": answer.received_digest,
        "norm": answer.norm,
        "num_steps": answer.num_steps,
        "loss": answer.loss,
        "held_out_loss": answer.held_out_loss,
        "seconds": answer.seconds,
        "num_records": answer.num_records,
        "num_files": answer.num_files,
        "ledger": f"{answer.ledger.count} {answer.ledger.digest}" if answer.ledger else "",
        "signature": answer.signature,
        "log": _log_fields(answer),
    }
    record = with_header(fields)
    put_parcel(record, "change", answer.change, answer.content)
    return record


def unpack_answer(record: RecordDict) -> Answer:
    """Decode at the coordinator.

    Raises:
        ProtocolMismatch: if the hospital runs another release.
        Unreadable: if a field is missing or of another kind.
    """
    header = header_of(record)
    refusal = refusal_in(header)
    return replace(refusal, log=_log_head(header)) if refusal else _update(record, header)


def _update(record: RecordDict, header: Header) -> Update:
    fields = fields_of(record, "change")
    if fields is None:
        raise Unreadable("change")
    change = parcel_in(fields, "change")
    return Update(
        study_digest=digest(header, "study_digest"),
        round_number=whole(header, "round_number"),
        received_digest=digest(header, "received_digest"),
        change=change,
        content=content_in(record, "change", change),
        norm=number(header, "norm"),
        num_steps=whole(header, "num_steps"),
        loss=number(header, "loss"),
        held_out_loss=number(header, "held_out_loss"),
        seconds=number(header, "seconds"),
        num_records=whole(header, "num_records"),
        num_files=whole(header, "num_files"),
        ledger=_ledger_head(header),
        signature=_signature(header),
        log=_log_head(header),
    )


def _signature(header: Header) -> str:
    """What stands for a signature; whether it is one is another question."""
    signature = text(header, "signature")
    if signature and not SIGNATURE.fullmatch(signature):
        raise Unreadable("signature")
    return signature


def _receipt(header: Header) -> Receipt | None:
    written = text(header, "receipt")
    try:
        return parse_receipt(written) if written else None
    except ReceiptInvalid as err:
        raise Unreadable("receipt") from err


def _witness_key(header: Header) -> str:
    key = text(header, "witness_key")
    if key and not HEX_32_BYTES.fullmatch(key):
        raise Unreadable("witness_key")
    return key


def _plan(header: Header) -> SignedPlan | None:
    """The plan that came along; who signed it, and what it says, is another question."""
    written, signature = text(header, "plan"), header.get("plan_signature")
    if not isinstance(signature, bytes):
        raise Unreadable("plan_signature")
    return SignedPlan(text=written, signature=signature) if written else None


def _ledger_head(header: Header) -> Head | None:
    written = text(header, "ledger")
    if not written:
        return None
    found = LEDGER_HEAD.fullmatch(written)
    if found is None:
        raise Unreadable("ledger")
    return Head(count=int(found[1]), digest=found[2])


def _log_fields(answer: Answer) -> str:
    said = answer.log
    return f"{said.head.count} {said.head.digest} {said.signature}" if said else ""


def _log_head(header: Header) -> SignedHead | None:
    """What a hospital says of its log; whether it says so is another question."""
    written = text(header, "log")
    if not written:
        return None
    found = LOG_HEAD.fullmatch(written)
    if found is None:
        raise Unreadable("log")
    return SignedHead(head=Head(count=int(found[1]), digest=found[2]), signature=found[3])


def _log_witness(header: Header) -> LogWitness | None:
    written = text(header, "log_witness")
    try:
        return parse_witness(written) if written else None
    except WitnessInvalid as err:
        raise Unreadable("log_witness") from err
