"""Counts of patients: numbers in the order of the layout, and no word."""

import math
from collections.abc import Iterator

from flwr.app import RecordDict

from federation.messages import (
    Count,
    CountsAnswer,
    CountsRequest,
    PairTables,
    Refusal,
    SiteCounts,
)
from federation.statistics import FILES, Layout, Pair, check_pairs, layout, pair_layout
from federation.wire.header import (
    Fields,
    Header,
    Unreadable,
    header_of,
    is_whole,
    number,
    refusal_fields,
    refusal_in,
    texts,
    whole,
    with_header,
)

MAX_FINDINGS = 200
MAX_NAME = 100
"""Characters of a finding's name."""
MAX_PAIRS = 1000
WITHHELD = -1


def pack_counts_request(request: CountsRequest) -> RecordDict:
    """Encode for the coordinator's outgoing message."""
    pairs = [name for pair in request.pairs for name in pair]
    return with_header({"findings": list(request.findings), "pairs": pairs})


def unpack_counts_request(record: RecordDict) -> CountsRequest:
    """Decode at the hospital.

    Raises:
        ProtocolMismatch: if the coordinator runs another release.
        Unreadable: if the findings are no list of different names, or the pairs none of their attributes.
    """
    header = header_of(record)
    findings = texts(header, "findings", max_length=MAX_FINDINGS, max_letters=MAX_NAME)
    try:
        layout(findings)
    except ValueError as err:
        raise Unreadable("findings") from err
    names = texts(header, "pairs", max_length=2 * MAX_PAIRS, max_letters=MAX_NAME)
    try:
        pairs = tuple(zip(names[::2], names[1::2], strict=True))
        check_pairs(pairs, findings)
    except ValueError as err:
        raise Unreadable("pairs") from err
    return CountsRequest(findings=findings, pairs=pairs)


def pack_counts(answer: CountsAnswer, request: CountsRequest) -> RecordDict:
    """Encode for the hospital's reply: numbers in the order of the layout, and no word."""
    if isinstance(answer, Refusal):
        return with_header(refusal_fields(answer))
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
    return with_header(fields)


def unpack_counts(record: RecordDict, request: CountsRequest) -> CountsAnswer:
    """Decode at the coordinator what a hospital answered to a request.

    Raises:
        ProtocolMismatch: if the hospital runs another release.
        Unreadable: if a number is missing, impossible, or smaller than the hospital lets out.
    """
    header = header_of(record)
    return refusal_in(header) or _site_counts(header, request)


def _site_counts(header: Header, request: CountsRequest) -> SiteCounts:
    min_cell, epsilon = whole(header, "min_cell"), number(header, "epsilon")
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
        max_pairs=whole(header, "max_pairs"),
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


def _bare(count: Count) -> int:
    return WITHHELD if count is None else count


def _counts(header: Header, name: str, length: int, min_cell: int) -> list[Count]:
    values = header.get(name)
    if not isinstance(values, list) or len(values) != length:
        raise Unreadable(name)
    return [_count(value, name, min_cell) for value in values]


def _count(value: object, name: str, min_cell: int) -> Count:
    if value == WITHHELD and type(value) is int:
        return None
    if not is_whole(value) or value < min_cell:
        raise Unreadable(name)
    return value
