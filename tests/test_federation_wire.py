"""The codec: what goes in comes out, and what no release writes is refused in words."""

import io
import math
import pickle
import zipfile

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.wire import (
    PROTOCOL,
    ProtocolMismatch,
    Unreadable,
    pack_answer,
    pack_instruction,
    unpack_answer,
    unpack_instruction,
)
from model.arrays import Arrays, digest_arrays

names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable())
tensors = st.tuples(
    st.lists(st.integers(0, 3), max_size=3).map(lambda shape: (1, *shape)),
    st.integers(0, 2**32 - 1),
).map(lambda drawn: np.random.default_rng(drawn[1]).normal(size=drawn[0]).astype(np.float32))
arrays = st.dictionaries(names, tensors, max_size=3)
counts = st.integers(0, 2**53 - 1)
losses = st.floats(allow_nan=False)
updates = st.builds(
    Update,
    study_digest=names, round_number=counts, received_digest=names, change=arrays, num_steps=counts,
    loss=losses, held_out_loss=losses, seconds=losses, num_records=counts, num_files=counts,
)  # fmt: skip
refusals = st.builds(Refusal, code=st.sampled_from(RefusalCode), reason=names)
instructions = st.builds(
    Instruction,
    study=names,
    round_number=counts,
    weights=arrays,
    base_digest=st.just("") | names,
    base=st.none() | arrays,
    site_number=st.none() | st.integers(1, 32),
)
UPDATE = Update(
    study_digest="s",
    round_number=1,
    received_digest="r",
    change={"w": np.ones((2, 3), np.float32)},
    num_steps=2,
    loss=0.5,
    held_out_loss=math.nan,
    seconds=1.0,
    num_records=3,
    num_files=4,
)


def same(one: Arrays | None, two: Arrays | None) -> bool:
    """Whether both are missing, or hold the same bits."""
    if one is None or two is None:
        return one is two
    return digest_arrays(one) == digest_arrays(two)


def fields(message: Instruction | Answer) -> dict[str, object]:
    """Everything but tensors."""
    tensors = ("weights", "base", "change")
    return {name: getattr(message, name) for name in message.__slots__ if name not in tensors}


@given(instructions)
def test_an_instruction_comes_out_as_it_went_in(instruction: Instruction) -> None:
    found = unpack_instruction(pack_instruction(instruction))
    assert fields(found) == fields(instruction)
    assert same(found.weights, instruction.weights)
    assert same(found.base, instruction.base)


@given(updates)
def test_an_update_comes_out_as_it_went_in(update: Update) -> None:
    found = unpack_answer(pack_answer(update))
    assert isinstance(found, Update)
    assert fields(found) == fields(update)
    assert same(found.change, update.change)


@given(refusals)
def test_a_refusal_comes_out_as_it_went_in(refusal: Refusal) -> None:
    assert unpack_answer(pack_answer(refusal)) == refusal


def test_a_loss_that_is_unknown_travels_as_nan() -> None:
    found = unpack_answer(pack_answer(UPDATE))
    assert isinstance(found, Update)
    assert math.isnan(found.held_out_loss)


@pytest.mark.parametrize("theirs", [PROTOCOL + 1, PROTOCOL - 1, "x"])
def test_another_protocol_is_refused_with_both_numbers_and_what_to_do(theirs: int | str) -> None:
    for record, unpack in (
        (pack_answer(UPDATE), unpack_answer),
        (pack_instruction(Instruction(study="", round_number=1, weights={})), unpack_instruction),
    ):
        record.config_records["header"]["protocol"] = theirs
        with pytest.raises(ProtocolMismatch) as caught:
            unpack(record)
        assert f"speaks protocol {theirs}, this side speaks {PROTOCOL}" in str(caught.value)
        assert "install the same release" in str(caught.value)


@pytest.mark.parametrize("name", list(fields(UPDATE)))
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
        ("study_digest", b"s"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_with_its_name(name: str, value: object) -> None:
    record = pack_answer(UPDATE)
    record.config_records["header"][name] = value  # type: ignore[assignment]
    with pytest.raises(Unreadable, match=name):
        unpack_answer(record)


@pytest.mark.parametrize("name", ["header", "change"])
def test_an_update_without_a_record_is_refused_with_its_name(name: str) -> None:
    record = pack_answer(UPDATE)
    del record[name]
    with pytest.raises(Unreadable, match=name):
        unpack_answer(record)


def test_a_record_of_another_kind_does_not_pass_for_the_header() -> None:
    with pytest.raises(Unreadable, match="header"):
        unpack_answer(RecordDict({"header": MetricRecord({"protocol": PROTOCOL})}))


def test_an_instruction_that_promises_a_frozen_model_must_bring_it() -> None:
    record = pack_instruction(Instruction(study="", round_number=1, weights={}, base={}))
    del record["base"]
    with pytest.raises(Unreadable, match="base"):
        unpack_instruction(record)


@pytest.mark.parametrize("number", [33, -1, "3", True])
def test_a_hospitals_number_that_no_study_gives_is_refused(number: object) -> None:
    record = pack_instruction(Instruction(study="", round_number=1, weights={}))
    record.config_records["header"]["site_number"] = number  # type: ignore[assignment]
    with pytest.raises(Unreadable, match="site_number"):
        unpack_instruction(record)


def test_records_that_nobody_asked_for_are_ignored() -> None:
    record = pack_answer(UPDATE)
    record["more"] = ConfigRecord({"a": 1})
    record.config_records["header"]["more"] = "text"
    found = unpack_answer(record)
    assert isinstance(found, Update)
    assert fields(found) | {"held_out_loss": 0} == fields(UPDATE) | {"held_out_loss": 0}


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


def saved(array: object, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=allow_pickle)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("w.npy", saved(np.ones(3)))
    return buffer.getvalue()


class Bomb:
    """Leaves a trace when it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (setattr, (Bomb, "exploded", True))


GOOD = save({"w": np.ones(3, np.float32)})
FOREIGN = {
    "nothing": b"",
    "noise": b"\x00" * 99,
    "cut short": GOOD[:-8],
    "impossibly large": GOOD.replace(b"[3]", b"[3000000000000000000]"),
    "a header longer than the blob": (2**40).to_bytes(8, "little") + GOOD[8:],
    "a zip file": archive(),
    "a pickle": pickle.dumps(Bomb()),
    "a header that is no JSON": GOOD.replace(b'{"w"', b'["w"'),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_bytes_that_are_no_tensors_are_refused(content: bytes) -> None:
    record = pack_answer(UPDATE)
    array = Array(dtype="uint8", shape=(len(content),), stype="safetensors", data=content)
    record["change"] = ArrayRecord({"tensors": array})
    with pytest.raises(Unreadable, match="change"):
        unpack_answer(record)
    assert not Bomb.exploded


@pytest.mark.parametrize(("name", "stype"), [("tensors", "pickle"), ("w", "safetensors")])
def test_tensors_in_another_encoding_or_place_are_refused(name: str, stype: str) -> None:
    record = pack_answer(UPDATE)
    array = Array(dtype="uint8", shape=(len(GOOD),), stype=stype, data=GOOD)
    record["change"] = ArrayRecord({name: array})
    with pytest.raises(Unreadable, match="change"):
        unpack_answer(record)


def test_all_tensors_travel_as_one_object() -> None:
    assert list(pack_answer(UPDATE).array_records["change"]) == ["tensors"]
