"""Messages to and from Flower records. The only codec; both sides import it."""

import math
import re
from collections.abc import Iterator, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from safetensors.numpy import load, save

from federation.messages import (
    Answer,
    Count,
    CountsAnswer,
    CountsRequest,
    Instruction,
    PairTables,
    Refusal,
    RefusalCode,
    SiteCounts,
    Update,
)
from federation.statistics import FILES, Layout, Pair, check_pairs, layout, pair_layout
from model.arrays import Arrays
from model.conditioning import NULL, NUM_SITES
from privacy.ledger.chain import Head
from privacy.ledger.witness import Receipt, ReceiptInvalid, parse_receipt, receipt_text

BLOB, STYPE = "tensors", "safetensors"

PROTOCOL = 3
"""Raised whenever a message changes meaning; both sides must match."""

MAX_WHOLE = 2**53
"""Whole numbers stay below this, which every database and every float can hold."""
MAX_REASON = 500
"""Characters of a hospital's reason that are kept."""

MAX_FINDINGS = 200
MAX_NAME = 100
"""Characters of a finding's name."""
MAX_PAIRS = 1000
WITHHELD = -1
LEDGER_HEAD = re.compile(r"(\d{1,15}) ([0-9a-f]{64})")
HEX_32_BYTES = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, str | float | bool | list[int] | list[str]]
Header = Mapping[str, object]


class ProtocolMismatch(RuntimeError):
    """The other side speaks another version of these messages."""

    def __init__(self, theirs: object) -> None:
        super().__init__(
            f"the other side speaks protocol {theirs}, this side speaks {PROTOCOL}: "
            f"install the same release of fedcxr at the coordinator and at every hospital"
        )


class Unreadable(ValueError):
    """A record that no release of this project writes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the message cannot be read: {what} is missing or malformed")


def pack_instruction(instruction: Instruction) -> RecordDict:
    """Encode for the coordinator's outgoing message."""
    header: Fields = {
        "study": instruction.study,
        "round_number": instruction.round_number,
        "base_digest": instruction.base_digest,
        "has_base": instruction.base is not None,
        "site_number": instruction.site_number or NULL,
        "receipt": receipt_text(instruction.receipt) if instruction.receipt else "",
        "witness_key": instruction.witness_key,
    }
    record = RecordDict({"header": _header(header), "weights": _pack(instruction.weights)})
    if instruction.base is not None:
        record["base"] = _pack(instruction.base)
    return record


def unpack_instruction(record: RecordDict) -> Instruction:
    """Decode at the hospital.

    Raises:
        ProtocolMismatch: if the coordinator runs another release.
        Unreadable: if a field is missing or of another kind.
    """
    header = _open(record)
    site_number = _whole(header, "site_number")
    if site_number > NUM_SITES:
        raise Unreadable("site_number")
    return Instruction(
        study=_text(header, "study"),
        round_number=_whole(header, "round_number"),
        weights=_unpack(record, "weights"),
        base_digest=_text(header, "base_digest"),
        base=_unpack(record, "base") if header.get("has_base") else None,
        site_number=site_number or None,
        receipt=_receipt(header),
        witness_key=_witness_key(header),
    )


def pack_answer(answer: Answer) -> RecordDict:
    """Encode for the hospital's reply."""
    if isinstance(answer, Refusal):
        return RecordDict({"header": _header({"code": answer.code, "reason": answer.reason})})
    fields: Fields = {
        "study_digest": answer.study_digest,
        "round_number": answer.round_number,
        "received_digest": answer.received_digest,
        "num_steps": answer.num_steps,
        "loss": answer.loss,
        "held_out_loss": answer.held_out_loss,
        "seconds": answer.seconds,
        "num_records": answer.num_records,
        "num_files": answer.num_files,
        "ledger": f"{answer.ledger.count} {answer.ledger.digest}" if answer.ledger else "",
    }
    return RecordDict({"header": _header(fields), "change": _pack(answer.change)})


def unpack_answer(record: RecordDict) -> Answer:
    """Decode at the coordinator.

    Raises:
        ProtocolMismatch: if the hospital runs another release.
        Unreadable: if a field is missing or of another kind.
    """
    header = _open(record)
    if "code" in header:
        return _refusal(header)
    return Update(
        study_digest=_text(header, "study_digest"),
        round_number=_whole(header, "round_number"),
        received_digest=_text(header, "received_digest"),
        change=_unpack(record, "change"),
        num_steps=_whole(header, "num_steps"),
        loss=_number(header, "loss"),
        held_out_loss=_number(header, "held_out_loss"),
        seconds=_number(header, "seconds"),
        num_records=_whole(header, "num_records"),
        num_files=_whole(header, "num_files"),
        ledger=_ledger_head(header),
    )


def pack_counts_request(request: CountsRequest) -> RecordDict:
    """Encode for the coordinator's outgoing message."""
    pairs = [name for pair in request.pairs for name in pair]
    return RecordDict({"header": _header({"findings": list(request.findings), "pairs": pairs})})


def unpack_counts_request(record: RecordDict) -> CountsRequest:
    """Decode at the hospital.

    Raises:
        ProtocolMismatch: if the coordinator runs another release.
        Unreadable: if the findings are no list of different names, or the pairs none of their attributes.
    """
    header = _open(record)
    findings = _names(header, "findings", MAX_FINDINGS)
    try:
        layout(findings)
    except ValueError as err:
        raise Unreadable("findings") from err
    names = _names(header, "pairs", 2 * MAX_PAIRS)
    try:
        pairs = tuple(zip(names[::2], names[1::2], strict=True))
        check_pairs(pairs, findings)
    except ValueError as err:
        raise Unreadable("pairs") from err
    return CountsRequest(findings=findings, pairs=pairs)


def pack_counts(answer: CountsAnswer, request: CountsRequest) -> RecordDict:
    """Encode for the hospital's reply: numbers in the order of the layout, and no word."""
    if isinstance(answer, Refusal):
        return pack_answer(answer)
    shape = layout(request.findings)
    cells = [answer.table[name][value] for name in shape for value in shape[name]]
    fields: Fields = {
        "num_patients": _bare(answer.num_patients),
        "num_files": _bare(answer.num_files),
        "files": [_bare(answer.files[name]) for name in FILES],
        "table": [_bare(count) for count in cells],
        "min_cell": answer.min_cell,
        "epsilon": answer.epsilon or 0.0,
        "max_pairs": answer.max_pairs,
        "pairs": [_bare(count) for count in _pair_cells(answer.pairs, request)],
    }
    return RecordDict({"header": _header(fields)})


def unpack_counts(record: RecordDict, request: CountsRequest) -> CountsAnswer:
    """Decode at the coordinator what a hospital answered to a request.

    Raises:
        ProtocolMismatch: if the hospital runs another release.
        Unreadable: if a number is missing, impossible, or smaller than the hospital lets out.
    """
    header = _open(record)
    if "code" in header:
        return _refusal(header)
    min_cell, epsilon = _whole(header, "min_cell"), _number(header, "epsilon")
    if min_cell < 1:
        raise Unreadable("min_cell")
    if not 0 <= epsilon < math.inf:
        raise Unreadable("epsilon")
    shape = layout(request.findings)
    cells = iter(_counts(header, "table", sum(map(len, shape.values())), min_cell))
    files = _counts(header, "files", len(FILES), min_cell)
    num_cells = sum(_num_cells(pair, pair_layout(request.findings)) for pair in request.pairs)
    pair_cells = iter(_counts(header, "pairs", num_cells, min_cell))
    return SiteCounts(
        num_patients=_count(header.get("num_patients"), "num_patients", min_cell),
        num_files=_count(header.get("num_files"), "num_files", min_cell),
        files=dict(zip(FILES, files, strict=True)),
        table={name: {value: next(cells) for value in shape[name]} for name in shape},
        min_cell=min_cell,
        epsilon=epsilon or None,
        max_pairs=_whole(header, "max_pairs"),
        pairs=_pair_tables(pair_cells, request),
    )


def _num_cells(pair: Pair, shape: Layout) -> int:
    first, second = pair
    return len(shape[first]) * len(shape[second])


def _pair_cells(pairs: PairTables, request: CountsRequest) -> Iterator[Count]:
    """All tables of two, pair after pair as they were asked for, row after row."""
    shape = pair_layout(request.findings)
    for first, second in request.pairs:
        for value in shape[first]:
            yield from (pairs[first][second][value][other] for other in shape[second])


def _pair_tables(cells: Iterator[Count], request: CountsRequest) -> PairTables:
    shape = pair_layout(request.findings)
    tables: dict[str, dict[str, dict[str, dict[str, Count]]]] = {}
    for first, second in request.pairs:
        tables.setdefault(first, {})[second] = {
            value: {other: next(cells) for other in shape[second]} for value in shape[first]
        }
    return tables


def _names(header: Header, name: str, max_length: int) -> tuple[str, ...]:
    names = header.get(name)
    if not isinstance(names, list) or len(names) > max_length:
        raise Unreadable(name)
    if not all(isinstance(each, str) and 0 < len(each) <= MAX_NAME for each in names):
        raise Unreadable(name)
    return tuple(names)


def _bare(count: Count) -> int:
    return WITHHELD if count is None else count


def _counts(header: Header, name: str, length: int, min_cell: int) -> list[Count]:
    values = header.get(name)
    if not isinstance(values, list) or len(values) != length:
        raise Unreadable(name)
    return [_count(value, name, min_cell) for value in values]


def _count(value: object, name: str, min_cell: int) -> Count:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(name)
    if value == WITHHELD:
        return None
    if not min_cell <= value < MAX_WHOLE:
        raise Unreadable(name)
    return value


def _receipt(header: Header) -> Receipt | None:
    text = _text(header, "receipt")
    try:
        return parse_receipt(text) if text else None
    except ReceiptInvalid as err:
        raise Unreadable("receipt") from err


def _witness_key(header: Header) -> str:
    key = _text(header, "witness_key")
    if key and not HEX_32_BYTES.fullmatch(key):
        raise Unreadable("witness_key")
    return key


def _ledger_head(header: Header) -> Head | None:
    text = _text(header, "ledger")
    if not text:
        return None
    found = LEDGER_HEAD.fullmatch(text)
    if found is None:
        raise Unreadable("ledger")
    return Head(count=int(found[1]), digest=found[2])


def _refusal(header: Header) -> Refusal:
    code = _text(header, "code")
    if code not in set(RefusalCode):
        raise Unreadable("code")
    reason = _text(header, "reason")[:MAX_REASON]
    printable = "".join(letter if letter.isprintable() else " " for letter in reason)
    return Refusal(code=RefusalCode(code), reason=printable)


def _header(fields: Fields) -> ConfigRecord:
    return ConfigRecord({"protocol": PROTOCOL, **fields})


def _open(record: RecordDict) -> Header:
    if "header" not in record.config_records:
        raise Unreadable("header")
    header = dict(record.config_records["header"])
    if header.get("protocol") != PROTOCOL:
        raise ProtocolMismatch(header.get("protocol"))
    return header


def _text(header: Header, name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str):
        raise Unreadable(name)
    return value


def _whole(header: Header, name: str) -> int:
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_WHOLE:
        raise Unreadable(name)
    return value


def _number(header: Header, name: str) -> float:
    value = header.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unreadable(name)
    return float(value)


def _pack(arrays: Arrays) -> ArrayRecord:
    """All tensors as one safetensors blob: Flower handles, stores and confirms every array by itself."""
    blob = save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})
    return ArrayRecord({BLOB: Array(dtype="uint8", shape=(len(blob),), stype=STYPE, data=blob)})


def _unpack(record: RecordDict, name: str) -> dict[str, np.ndarray]:
    arrays = record.array_records.get(name)
    if arrays is None or set(arrays) != {BLOB} or arrays[BLOB].stype != STYPE:
        raise Unreadable(name)
    try:
        return dict(load(arrays[BLOB].data))
    except Exception as err:  # what safetensors and numpy raise for foreign bytes is no closed list
        raise Unreadable(name) from err
