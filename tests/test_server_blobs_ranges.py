"""Ranges and names as strangers write them: what is asked for, or a refusal."""

import pytest

from server.blobs.names import is_space, shard_link, shard_number
from server.blobs.ranges import OutOfRange, Span, asked_span, brought_span


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, (0, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=4-", (4, 10)),
        ("bytes=4-4", (4, 5)),
        ("bytes=4-99", (4, 10)),
        ("bytes=9-9", (9, 10)),
    ],
)
def test_what_is_asked_for_is_given(header: str | None, span: tuple[int, int]) -> None:
    assert asked_span(header, 10) == Span(first=span[0], end=span[1])


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=10-", "bytes=11-12", "bytes=5-4", "bytes=-5", "bytes=a-b", "bytes=0-1,3-4"),
        *("", "items=0-1", "bytes=0x1-2", "bytes=\u0661-", "bytes=" + "9" * 5000 + "-"),
    ],
)
def test_what_is_not_there_is_not_given(header: str) -> None:
    with pytest.raises(OutOfRange):
        asked_span(header, 10)


def test_what_is_brought_is_read() -> None:
    assert brought_span("bytes 4-9/10") == (Span(first=4, end=10), 10)


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes 0-10/10", "bytes 5-4/10", "bytes */10", "bytes 0-4/*", "bytes=0-4/10"),
        *("bytes -1-4/10", "bytes 0-4/10 ", "bytes 0-" + "9" * 5000 + "/10"),
    ],
)
def test_what_cannot_be_brought_is_not(header: str) -> None:
    with pytest.raises(OutOfRange):
        brought_span(header)


@pytest.mark.parametrize("name", ["a", "0", "study-1.round-2.hospital-a", "a" * 120])
def test_a_name_of_a_space_is_one(name: str) -> None:
    assert is_space(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-a",
        ".a",
        "A",
        "a/b",
        "a\\b",
        "a\n",
        "a" * 121,
        "\u00e4",
        "a%2e",
        "a b",
        "a\0",
    ],
)
def test_nothing_else_is_a_name_of_a_space(name: str) -> None:
    assert not is_space(name)


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", "1.0", "\u0661", "1000000", "1\n", "x"]
)
def test_a_number_is_written_in_one_way(text: str) -> None:
    assert shard_number(text) is None


def test_a_link_names_space_and_number() -> None:
    link = shard_link("study.a", 12)
    assert link == "/blobs/study.a/12"
    assert shard_number(link.rpartition("/")[2]) == 12
