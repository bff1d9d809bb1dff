"""A round's messages: what goes in comes out, and what no release writes is refused in words."""

import math
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from federation.encoding import Encoding
from federation.log_witness import LogWitness, SignedHead
from federation.messages import (
    BoxTicket,
    Instruction,
    Refusal,
    RefusalCode,
    Shipment,
    Step,
    Ticket,
    Update,
)
from federation.parcel import Parcel, pack_inline
from federation.shipment import inline_shipment, open_inline
from federation.wire.header import PROTOCOL, ProtocolMismatch, Unreadable
from federation.wire.rounds import (
    pack_answer,
    pack_instruction,
    unpack_answer,
    unpack_instruction,
)
from model.arrays import digest_arrays
from model.tensors import InMemory
from privacy.ledger.chain import Head

ARRAYS = {"w": np.ones((2, 3), np.float32), "b": np.array(2.0, np.float32)}
PARCEL, CONTENT = pack_inline(InMemory(ARRAYS), "int8")
TICKET = Ticket(links=("/blobs/x/0",), token="e30.e30", expires=1)  # noqa: S106
STEP = Step(from_digest="c" * 64, parcel=PARCEL, ticket=TICKET)
UPDATE = Update(
    study_digest="a" * 64,
    round_number=1,
    received_digest="b" * 64,
    change=PARCEL,
    content=CONTENT,
    norm=2.0,
    num_steps=2,
    loss=0.5,
    held_out_loss=0.25,
    seconds=1.0,
    num_records=3,
    num_files=4,
)
INSTRUCTION = Instruction(study="{}", round_number=1, weights=inline_shipment(ARRAYS))

ENCODINGS: tuple[Encoding, ...] = ("fp32", "bf16", "int8", "int4")
words = st.text(min_size=1, max_size=12).filter(lambda word: word.isprintable())
counts = st.integers(0, 2**53 - 1)
numbers = st.floats(allow_nan=False)
digests = st.sampled_from(["0" * 64, "0123456789abcdef" * 4])
heads = st.builds(Head, count=st.integers(0, 10**15 - 1), digest=digests)
said = st.builds(SignedHead, head=heads, signature=st.sampled_from(["ab" * 8, "cd" * 70]))
witnesses = st.builds(
    LogWitness,
    site_name=st.sampled_from(["a", "st-mary"]),
    count=counts,
    digest=digests,
    head_signature=st.just("ab" * 70),
    study_digest=digests,
    round_number=counts,
    seconds=counts,
    signature=st.just("ef" * 64),
)
boxes = st.builds(
    BoxTicket,
    link=st.just("/blobs/up.0123456789ab.00001.a"),
    token=st.sampled_from(["", "e30.e30"]),
    expires=counts,
    max_bytes=counts,
)
SOME_ARRAYS = (ARRAYS, {"a.b": np.zeros((3, 0), np.float32)}, {"c d": np.ones(7, np.float32)})
PARCELS = [
    pack_inline(InMemory(arrays), encoding, shard_values=shard_values)
    for arrays in SOME_ARRAYS
    for encoding in ENCODINGS
    for shard_values in (1, 5, 100)
]
parcels = st.sampled_from(PARCELS)


def tickets(parcel: Parcel) -> st.SearchStrategy[Ticket | None]:
    links = tuple(f"/blobs/x/{number}" for number in range(len(parcel.digests)))
    tokens = st.sampled_from(["", "e30.e30"])
    return st.none() | st.builds(Ticket, links=st.just(links), token=tokens, expires=counts)


def steps(parcel: Parcel) -> st.SearchStrategy[Step]:
    return st.builds(Step, from_digest=digests, parcel=st.just(parcel), ticket=tickets(parcel))


@st.composite
def shipments(draw: st.DrawFn) -> Shipment:
    parcel, content = draw(parcels)
    return Shipment(
        digest=draw(digests),
        parcel=parcel,
        content=draw(st.sampled_from([content, None])),
        ticket=draw(tickets(parcel)),
        step=draw(st.none() | steps(draw(parcels)[0])),
    )


@st.composite
def updates(draw: st.DrawFn) -> Update:
    change, content = draw(parcels)
    return Update(
        study_digest=draw(digests),
        round_number=draw(counts),
        received_digest=draw(digests),
        change=change,
        content=draw(st.sampled_from([content, None])),
        norm=draw(numbers),
        num_steps=draw(counts),
        loss=draw(numbers),
        held_out_loss=draw(numbers),
        seconds=draw(numbers),
        num_records=draw(counts),
        num_files=draw(counts),
        ledger=draw(st.none() | heads),
        log=draw(st.none() | said),
    )


instructions = st.builds(
    Instruction,
    study=words,
    round_number=counts,
    weights=shipments(),
    base=st.none() | shipments(),
    site_number=st.none() | st.integers(1, 32),
    witness_key=st.just("") | digests,
    log_witness=st.none() | witnesses,
    box=st.none() | boxes,
)
refusals = st.builds(Refusal, code=st.sampled_from(RefusalCode), reason=words, log=st.none() | said)


@given(instructions)
def test_an_instruction_comes_out_as_it_went_in(instruction: Instruction) -> None:
    assert unpack_instruction(pack_instruction(instruction)) == instruction


@given(updates())
def test_an_update_comes_out_as_it_went_in(update: Update) -> None:
    assert unpack_answer(pack_answer(update)) == update


@given(refusals)
def test_a_refusal_comes_out_as_it_went_in(refusal: Refusal) -> None:
    assert unpack_answer(pack_answer(refusal)) == refusal


def test_the_tensors_of_an_instruction_come_out_as_they_went_in() -> None:
    found = unpack_instruction(pack_instruction(INSTRUCTION)).weights
    assert digest_arrays(open_inline(found)) == found.digest == digest_arrays(ARRAYS)


def test_a_number_that_is_unknown_travels_as_nan() -> None:
    found = unpack_answer(pack_answer(replace(UPDATE, held_out_loss=math.nan, norm=math.nan)))
    assert isinstance(found, Update)
    assert math.isnan(found.held_out_loss)
    assert math.isnan(found.norm)


@pytest.mark.parametrize("theirs", [PROTOCOL + 1, PROTOCOL - 1, "x"])
def test_another_protocol_is_refused_with_both_numbers_and_what_to_do(theirs: int | str) -> None:
    for record, unpack in (
        (pack_answer(UPDATE), unpack_answer),
        (pack_instruction(INSTRUCTION), unpack_instruction),
    ):
        record.config_records["header"]["protocol"] = theirs
        with pytest.raises(ProtocolMismatch, match=f"protocol {theirs}, .* {PROTOCOL}") as caught:
            unpack(record)
        assert "install the same release" in str(caught.value)


OWN_FIELDS = [name for name in UPDATE.__slots__ if name not in {"change", "content"}]


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_an_update_without_a_field_is_refused_with_the_fields_name(name: str) -> None:
    record = pack_answer(UPDATE)
    del record.config_records["header"][name]
    with pytest.raises(Unreadable, match=f": {name} is missing or malformed"):
        unpack_answer(record)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("round_number", 1.0),
        ("round_number", True),
        ("round_number", -1),
        ("num_records", 2**63),
        ("num_records", "3"),
        ("num_steps", [2]),
        ("loss", "0.5"),
        ("loss", False),
        ("norm", "2"),
        ("study_digest", b"raw"),
        ("study_digest", "s"),
        ("received_digest", "A" * 64),
        ("received_digest", "a" * 64 + "\n"),
        ("ledger", "1 x"),
        ("ledger", 1),
        *(("log", said) for said in (1, "1 x", f"1 {'a' * 64}", f"1 {'a' * 64} xy")),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_with_its_name(name: str, value: object) -> None:
    record = pack_answer(UPDATE)
    record.config_records["header"][name] = value  # type: ignore[assignment]
    with pytest.raises(Unreadable, match=name):
        unpack_answer(record)


def without(record: RecordDict, part: str) -> RecordDict:
    """The record as if nobody had put this part into it."""
    header = record.config_records["header"]
    for key in [key for key in header if key.startswith(f"{part}.")]:
        del header[key]
    return record


def test_an_update_without_a_description_of_its_change_is_refused() -> None:
    with pytest.raises(Unreadable, match="change"):
        unpack_answer(without(pack_answer(UPDATE), "change"))


def test_an_update_without_fields_is_refused() -> None:
    record = pack_answer(UPDATE)
    del record["header"]
    with pytest.raises(Unreadable, match="header"):
        unpack_answer(record)


def test_an_update_whose_shards_are_not_inside_has_to_be_sent_for() -> None:
    record = pack_answer(UPDATE)
    del record["change.content"]
    assert unpack_answer(record) == replace(UPDATE, content=None)


def test_a_record_of_another_kind_does_not_pass_for_the_header() -> None:
    with pytest.raises(Unreadable, match="header"):
        unpack_answer(RecordDict({"header": MetricRecord({"protocol": PROTOCOL})}))


@pytest.mark.parametrize("name", ["weights", "base"])
def test_an_instruction_that_promises_tensors_must_describe_them(name: str) -> None:
    record = pack_instruction(replace(INSTRUCTION, base=INSTRUCTION.weights))
    with pytest.raises(Unreadable, match=name):
        unpack_instruction(without(record, name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("site_number", number) for number in (33, -1, "3", True)),
        *(("has_base", flag) for flag in (0, 1, "yes")),
        *(("witness_key", key) for key in ("x", "A" * 64, 1)),
        ("receipt", "{}"),
        *(("log_witness", said) for said in ("{}", "[", 1, "[" * 5000)),
        ("study", 1),
    ],
)
def test_an_instruction_that_no_study_gives_is_refused(name: str, value: object) -> None:
    record = pack_instruction(INSTRUCTION)
    record.config_records["header"][name] = value  # type: ignore[assignment]
    with pytest.raises(Unreadable, match=name):
        unpack_instruction(record)


def test_records_that_nobody_asked_for_are_ignored() -> None:
    record = pack_answer(UPDATE)
    record["more"] = ConfigRecord({"a": 1})
    record.config_records["header"]["more"] = "text"
    assert unpack_answer(record) == UPDATE


def test_a_message_is_one_record_and_one_more_for_tensors_inside_it() -> None:
    """Flower sends each record by a request of its own, through every process on the way."""
    with_base = replace(INSTRUCTION, base=INSTRUCTION.weights)
    assert sorted(pack_instruction(with_base)) == ["base.content", "header", "weights.content"]
    assert sorted(pack_answer(UPDATE)) == ["change.content", "header"]


def test_a_refusal_for_a_reason_that_no_release_knows_is_refused() -> None:
    record = pack_answer(Refusal(code=RefusalCode.STUDY, reason="x"))
    record.config_records["header"]["code"] = "whim"
    with pytest.raises(Unreadable, match="code"):
        unpack_answer(record)


def test_a_hospitals_words_are_cut_and_cannot_steer_a_terminal() -> None:
    record = pack_answer(Refusal(code=RefusalCode.INTERNAL, reason="\x1b[2J\n" + "a" * 10_000))
    found = unpack_answer(record)
    assert isinstance(found, Refusal)
    assert found.reason.isprintable()
    assert len(found.reason) == 500


def test_the_other_sides_protocol_is_cut_and_cannot_steer_a_terminal() -> None:
    record = pack_answer(UPDATE)
    record.config_records["header"]["protocol"] = "\x1b[2J\n" + "a" * 10_000
    with pytest.raises(ProtocolMismatch) as caught:
        unpack_answer(record)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("link", "https://elsewhere.example/blobs/x"),
        ("link", "/blobs/x\r\nHost: elsewhere"),
        ("link", "/" + 5000 * "x"),
        ("token", "a b"),
        ("expires", -1),
        ("max_bytes", "many"),
    ],
)
def test_leave_to_open_a_box_that_leads_elsewhere_or_is_malformed_is_unreadable(
    field: str, value: str | int
) -> None:
    box = BoxTicket(link="/blobs/x", token="e30.e30", expires=1, max_bytes=1)  # noqa: S106
    record = pack_instruction(replace(INSTRUCTION, box=box))
    record.config_records["header"][f"box.{field}"] = value
    with pytest.raises(Unreadable, match=field):
        unpack_instruction(record)
