"""Counts on the wire: numbers in a known order, and nothing that a hostile side could add or stretch."""

import math

import pytest
from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from client.dicom.metadata import manufacturer_number
from client.dicom.rejection import Reason
from federation.messages import CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.statistics import (
    FILES,
    MANUFACTURERS,
    PRESENCE,
    REASONS,
    check_pairs,
    in_order,
    layout,
    noise_scale,
    pair_layout,
)
from federation.wire.counts import (
    pack_counts,
    pack_counts_request,
    unpack_counts,
    unpack_counts_request,
)
from federation.wire.header import PROTOCOL, ProtocolMismatch, Unreadable
from model.conditioning import FINDINGS

PAIRS = (("sex", "edema"), ("view", "sex"), ("edema", "fracture"))
REQUEST = CountsRequest(findings=("edema", "fracture"), pairs=PAIRS)
SHAPE, PAIR_SHAPE = layout(REQUEST.findings), pair_layout(REQUEST.findings)
counts = st.none() | st.integers(10, 2**53 - 1)
tables = st.fixed_dictionaries(
    {name: st.fixed_dictionaries(dict.fromkeys(values, counts)) for name, values in SHAPE.items()}
)
PAIR_CELLS = {
    (one, two): dict.fromkeys(PAIR_SHAPE[one], dict.fromkeys(PAIR_SHAPE[two])) for one, two in PAIRS
}
pair_tables = st.fixed_dictionaries(
    {
        one: st.fixed_dictionaries(
            {
                two: st.fixed_dictionaries(
                    {
                        value: st.fixed_dictionaries(dict.fromkeys(PAIR_SHAPE[two], counts))
                        for value in PAIR_SHAPE[one]
                    }
                )
                for first, two in PAIRS
                if first == one
            }
        )
        for one, _ in PAIRS
    }
)
answers = st.builds(
    SiteCounts,
    num_patients=counts,
    num_files=counts,
    files=st.fixed_dictionaries(dict.fromkeys(FILES, counts)),
    table=tables,
    min_cell=st.integers(1, 10),
    epsilon=st.none() | st.floats(1e-6, 1e6),
    max_pairs=st.integers(0, 1000),
    pairs=pair_tables,
)
ANSWER = SiteCounts(
    num_patients=10,
    num_files=None,
    files=dict.fromkeys(FILES, 20),
    table={name: dict.fromkeys(values) for name, values in SHAPE.items()},
    min_cell=10,
    epsilon=None,
    pairs={
        one: {two: PAIR_CELLS[one, two] for first, two in PAIRS if first == one} for one, _ in PAIRS
    },
)


@given(st.lists(st.text(min_size=1, max_size=100), unique=True, max_size=5))
def test_a_request_comes_out_as_it_went_in(names: list[str]) -> None:
    findings = tuple(name for name in names if name not in (*SHAPE, "patients", "files"))
    request = CountsRequest(findings=findings, pairs=(("view", "sex"), *_some_pairs(findings)))
    assert unpack_counts_request(pack_counts_request(request)) == request


def _some_pairs(findings: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("age", finding) for finding in findings[::2]]


@given(answers)
def test_counts_come_out_as_they_went_in(answer: SiteCounts) -> None:
    assert unpack_counts(pack_counts(answer, REQUEST), REQUEST) == answer


def test_a_refusal_comes_out_as_it_went_in() -> None:
    refusal = Refusal(code=RefusalCode.STATISTICS, reason="words")
    assert unpack_counts(pack_counts(refusal, REQUEST), REQUEST) == refusal


def test_counts_travel_as_numbers_without_a_word() -> None:
    record = pack_counts(ANSWER, REQUEST)
    assert list(record) == ["header"]
    for value in record.config_records["header"].values():
        numbers = value if isinstance(value, list) else [value]
        assert all(isinstance(number, int | float) for number in numbers)


@pytest.mark.parametrize(
    "findings",
    [
        None,
        "edema",
        [1],
        [""],
        ["x" * 101],
        ["a", "a"],
        ["sex"],
        ["patients"],
        [f"f{number}" for number in range(201)],
    ],
)
def test_a_request_that_no_release_writes_is_refused(findings: object) -> None:
    record = pack_counts_request(REQUEST)
    header = record.config_records["header"]
    del header["findings"]
    if findings is not None:
        header["findings"] = findings  # type: ignore[assignment]
    with pytest.raises(Unreadable, match="findings"):
        unpack_counts_request(record)


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        "sex",
        ["sex"],
        ["sex", "sex"],
        ["sex", "view"],  # not in the layout's order
        ["sex", "edema", "sex", "edema"],
        ["sex", "pneumonia"],
        ["split", "sex"],
        ["site", "sex"],
        ["view", 1],
        ["view", "sex"] * 1001,
    ],
)
def test_pairs_that_no_release_asks_for_are_refused(pairs: object) -> None:
    record = pack_counts_request(REQUEST)
    header = record.config_records["header"]
    del header["pairs"]
    if pairs is not None:
        header["pairs"] = pairs if pairs != ["view", 1] else [1, 2]  # type: ignore[assignment]
    with pytest.raises(Unreadable, match="pairs"):
        unpack_counts_request(record)


def test_a_pair_has_one_order_whoever_names_it() -> None:
    assert in_order("edema", "view", FINDINGS) == in_order("view", "edema", FINDINGS)
    check_pairs([in_order("edema", "view", FINDINGS)], FINDINGS)


def test_in_tables_of_two_findings_are_there_or_not() -> None:
    assert PAIR_SHAPE["edema"] == PRESENCE
    assert PAIR_SHAPE["view"] == SHAPE["view"]
    assert "split" not in PAIR_SHAPE


TABLE, FILE = [-1] * sum(map(len, SHAPE.values())), [20] * len(FILES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_patients", 9),
        ("num_patients", 0),
        ("num_patients", -2),
        ("num_patients", 10.0),
        ("num_patients", True),
        ("num_patients", "10"),
        ("num_files", 2**53),
        ("files", FILE[:-1]),
        ("files", [*FILE, 20]),
        ("files", [9, *FILE[1:]]),
        ("files", 20),
        ("table", [*TABLE, -1]),
        ("table", [3, *TABLE[1:]]),
        ("table", [float(count) for count in TABLE]),
        ("table", ["DOE^JANE"] * len(TABLE)),
        ("pairs", [-1] * 15),
        ("pairs", [-1] * 17),
        ("pairs", [3, *[-1] * 15]),
        ("max_pairs", -1),
        ("max_pairs", "1"),
        ("min_cell", 0),
        ("min_cell", "10"),
        ("epsilon", -1.0),
        ("epsilon", math.inf),
        ("epsilon", math.nan),
    ],
)
def test_counts_that_no_release_sends_are_refused_with_the_fields_name(
    name: str, value: object
) -> None:
    record = pack_counts(ANSWER, REQUEST)
    record.config_records["header"][name] = value  # type: ignore[assignment]
    with pytest.raises(Unreadable, match=name):
        unpack_counts(record, REQUEST)


@pytest.mark.parametrize(
    "name",
    ["num_patients", "num_files", "files", "table", "min_cell", "epsilon", "max_pairs", "pairs"],
)
def test_counts_without_a_field_are_refused_with_the_fields_name(name: str) -> None:
    record = pack_counts(ANSWER, REQUEST)
    del record.config_records["header"][name]
    with pytest.raises(Unreadable, match=name):
        unpack_counts(record, REQUEST)


def test_counts_for_another_study_are_refused() -> None:
    with pytest.raises(Unreadable, match="table"):
        unpack_counts(pack_counts(ANSWER, REQUEST), CountsRequest(findings=("edema",)))


def test_another_protocol_is_refused_on_both_sides() -> None:
    for record in (pack_counts(ANSWER, REQUEST), pack_counts_request(REQUEST)):
        record.config_records["header"]["protocol"] = PROTOCOL + 1
        with pytest.raises(ProtocolMismatch):
            unpack_counts(record, REQUEST)
        with pytest.raises(ProtocolMismatch):
            unpack_counts_request(record)
    with pytest.raises(Unreadable, match="header"):
        unpack_counts(RecordDict(), REQUEST)


def test_reasons_that_are_said_of_patients_are_not_counted() -> None:
    assert set(Reason) - set(REASONS) == {Reason.OPTED_OUT, Reason.TOO_YOUNG}
    assert set(REASONS) < set(Reason)


def test_makers_are_called_as_their_numbers_in_a_record_say() -> None:
    for number, name in enumerate(MANUFACTURERS, start=1):
        assert manufacturer_number(name.upper()) == number


def test_a_finding_cannot_take_the_name_of_another_attribute() -> None:
    for name in ("age", "files"):
        with pytest.raises(ValueError, match="different names"):
            layout((name,))


def test_noise_covers_one_count_of_every_attribute_and_the_number_of_patients() -> None:
    assert noise_scale(FINDINGS, 0.5) == (6 + 14 + 1) * 2
    assert noise_scale(FINDINGS, 0.5, max_pairs=39) == (6 + 14 + 1 + 39) * 2
