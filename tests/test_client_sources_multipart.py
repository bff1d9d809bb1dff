"""An instance leaves the HTTP answer around it whole, wherever the network cuts it into pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.sources.multipart import CutShort, NoInstance, instance_in

TYPE = 'multipart/related; type="application/dicom"; boundary="--=b"'
BEFORE = b"----=b\r\nContent-Type: application/dicom\r\n\r\n"
AFTER = b"\r\n----=b--\r\n"

# Content that is likely to look like the beginning of the end.
contents = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"=", b"b", b"x", b"\r\n----="])).map(
    b"".join
)


def cut(message: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(message) + 1) for place in places} | {0, len(message)})
    return [message[start:end] for start, end in itertools.pairwise(ends)]


@given(content=contents, places=st.lists(st.integers(0, 10**6), max_size=30))
def test_the_content_is_the_same_however_it_is_cut(content: bytes, places: list[int]) -> None:
    message = BEFORE + content + AFTER
    assert b"".join(instance_in(TYPE, cut(message, places))) == content


@given(missing=st.integers(len(AFTER) - 7, len(BEFORE) + len(AFTER) + 5))
def test_an_answer_that_ends_early_is_never_taken_for_whole(missing: int) -> None:
    message = BEFORE + b"12345" + AFTER
    with pytest.raises(CutShort):
        b"".join(instance_in(TYPE, [message[:-missing]]))


def test_only_a_piece_is_held_at_a_time() -> None:
    pieces = [BEFORE, *[b"x" * 1000] * 1000, AFTER]
    sizes = [len(piece) for piece in instance_in(TYPE, pieces)]
    assert (max(sizes), sum(sizes)) == (1000, 1_000_000)


@pytest.mark.parametrize("kind", ["application/dicom", "application/dicom; transfer-syntax=1.2"])
def test_an_instance_without_envelope_is_taken_as_it_is(kind: str) -> None:
    assert list(instance_in(kind, [b"a", b"b"])) == [b"a", b"b"]


@pytest.mark.parametrize("kind", ["text/html", "", "multipart/related", "application/dicom+json"])
def test_any_other_answer_is_no_instance(kind: str) -> None:
    with pytest.raises(NoInstance):
        list(instance_in(kind, [BEFORE, AFTER]))


def test_headers_without_end_are_given_up() -> None:
    with pytest.raises(NoInstance):
        list(instance_in(TYPE, [b"x" * 1000] * 1000))
