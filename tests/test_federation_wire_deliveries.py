"""Deliveries on the wire: a request names its shards and has a link for each, and the answer says what was left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.messages import Delivered, DeliveryRequest, Refusal, RefusalCode, Ticket
from federation.wire.deliveries import (
    pack_delivery,
    pack_delivery_request,
    unpack_delivery,
    unpack_delivery_request,
)
from federation.wire.header import PROTOCOL, ProtocolMismatch, Unreadable

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
REQUEST = DeliveryRequest(
    study_digest="a" * 64,
    round_number=1,
    parcel_digest="b" * 64,
    shards=(0, 3),
    ticket=Ticket(links=("/blobs/x/0", "/blobs/x/3"), token="", expires=1),
)


@given(
    shards=st.lists(st.integers(0, 9_999), unique=True, max_size=9).map(sorted),
    study=digests,
    parcel=digests,
    round_number=st.integers(0, 2**53 - 1),
)
def test_a_request_comes_out_as_it_went_in(
    shards: list[int], study: str, parcel: str, round_number: int
) -> None:
    request = DeliveryRequest(
        study_digest=study,
        round_number=round_number,
        parcel_digest=parcel,
        shards=tuple(shards),
        ticket=Ticket(links=tuple(f"https://b/{each}" for each in shards), token="", expires=0),
    )
    assert unpack_delivery_request(pack_delivery_request(request)) == request


@given(digests)
def test_an_answer_comes_out_as_it_went_in(digest: str) -> None:
    delivered = Delivered(parcel_digest=digest)
    assert unpack_delivery(pack_delivery(delivered)) == delivered


@pytest.mark.parametrize("code", [RefusalCode.NOT_KEPT, RefusalCode.TRANSFER])
def test_a_refusal_comes_out_as_it_went_in(code: RefusalCode) -> None:
    refusal = Refusal(code=code, reason="words")
    assert unpack_delivery(pack_delivery(refusal)) == refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("study_digest", "s"),
        ("parcel_digest", "B" * 64),
        ("parcel_digest", 1),
        ("round_number", -1),
        ("shards", "0"),
        ("shards", [0]),
        ("shards", [3, 0]),
        ("shards", [3, 3]),
        ("shards", [-1, 3]),
        ("shards", [0, 10_000]),
        ("shards", [0.0, 3.0]),
        ("shards", [False, True]),
        ("links", ["/blobs/x/0"]),
        ("links", [1, 2]),
        ("token", 1),
        ("expires", "soon"),
    ],
)
def test_a_request_that_no_release_writes_is_refused(name: str, value: object) -> None:
    record = pack_delivery_request(REQUEST)
    record.config_records["header"][name] = value  # type: ignore[assignment]
    with pytest.raises(Unreadable):
        unpack_delivery_request(record)


@pytest.mark.parametrize(
    "name",
    ["study_digest", "round_number", "parcel_digest", "shards", "links", "token", "expires"],
)
def test_a_request_without_a_field_is_refused(name: str) -> None:
    record = pack_delivery_request(REQUEST)
    del record.config_records["header"][name]
    with pytest.raises(Unreadable, match=name):
        unpack_delivery_request(record)


def test_an_answer_that_says_neither_what_nor_why_is_refused() -> None:
    record = pack_delivery(Delivered(parcel_digest="a" * 64))
    del record.config_records["header"]["parcel_digest"]
    with pytest.raises(Unreadable, match="parcel_digest"):
        unpack_delivery(record)


def test_another_protocol_is_refused_on_both_sides() -> None:
    request, answer = pack_delivery_request(REQUEST), pack_delivery(Delivered(parcel_digest="a"))
    for record in (request, answer):
        record.config_records["header"]["protocol"] = PROTOCOL + 1
    with pytest.raises(ProtocolMismatch):
        unpack_delivery_request(request)
    with pytest.raises(ProtocolMismatch):
        unpack_delivery(answer)
