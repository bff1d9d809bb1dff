"""What two programs could read in two ways is refused; what passes, three parsers read alike."""

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.heads import MAX_HEADERS, MAX_TARGET_BYTES, BadHead, body_length

GET = "GET /healthz HTTP/1.1\r\n"
PUT = "PUT /blobs/a/0 HTTP/1.1\r\nHost: a\r\n"


def head(text: str) -> bytes:
    return text.encode("latin-1") + b"\r\n"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (GET + "Host: a.example:443\r\n", 0),
        (GET + "Host: [::1]:443\r\nContent-Length: 0\r\n", 0),
        (PUT + "Content-Length: 5\r\n", 5),
        (PUT + "content-length:\t5 \r\nExpect: 100-continue\r\n", 5),
        (PUT + "Content-Length: 999999999999999\r\n", 999_999_999_999_999),
        (PUT, 0),
        (PUT + "X-Empty:\r\nX-Latin: \xe9\r\n", 0),
    ],
)
def test_a_plain_head_says_how_long_its_body_is(text: str, length: int) -> None:
    assert body_length(head(text)) == length


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (PUT + "Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (PUT + "Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (PUT + "Content-Length: 5\r\ncontent-length: 5\r\n", 400),
        (PUT + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (PUT + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (PUT + "Transfer-Encoding: chunked\r\n", 411),
        (PUT + "Transfer-Encoding: identity\r\n", 411),
        (PUT + "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", 400),
        (PUT + "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", 400),
        (PUT + "Transfer-Encoding:\x0bchunked\r\n", 400),
        (PUT + "Content-Length: +5\r\n", 400),
        (PUT + "Content-Length: -5\r\n", 400),
        (PUT + "Content-Length: 05\r\n", 400),
        (PUT + "Content-Length: 5, 5\r\n", 400),
        (PUT + "Content-Length: 5 6\r\n", 400),
        (PUT + "Content-Length: 0x5\r\n", 400),
        (PUT + "Content-Length: 1_0\r\n", 400),
        (PUT + "Content-Length: \u00b2\r\n", 400),
        (PUT + "Content-Length:\r\n", 400),
        (PUT + "Content-Length: 9999999999999999\r\n", 400),
        (GET + "Host: a\r\nContent-Length: 5\r\n", 400),
        (PUT + "X: a\r\n b\r\n", 400),
        (PUT + "X: a\r\n\tContent-Length: 5\r\n", 400),
        (" X: a\r\n", 400),
        (PUT + "X a\r\n", 400),
        (PUT + ": a\r\n", 400),
        (PUT + "X: a\nY: b\r\n", 400),
        (PUT + "X: a\rY: b\r\n", 400),
        (PUT + "X: a\x00\r\n", 400),
        (PUT + "X\xe9: a\r\n", 400),
        (PUT + "X(: a\r\n", 400),
        (PUT + "Host: a\r\n", 400),
        (GET, 400),
        (GET + "Host: \r\n", 400),
        (GET + "Host: a/b\r\n", 400),
        (GET + "Host: a@b\r\n", 400),
        (GET + "Host: a, b\r\n", 400),
        ("GET https://a/healthz HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET a:443 HTTP/1.1\r\nHost: a\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET /\xe9 HTTP/1.1\r\nHost: a\r\n", 400),
        ("get / HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\n", 505),
        ("GET / HTTP/2.0\r\nHost: a\r\n", 505),
        ("GET /\r\nHost: a\r\n", 400),
        ("\r\n" + GET + "Host: a\r\n", 400),
        ("", 400),
        (GET + "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 400),
        (GET + "Host: a\r\nUpgrade: h2c\r\n", 400),
        (PUT + "Expect: 200-maybe\r\n", 417),
        (f"GET /{'a' * MAX_TARGET_BYTES} HTTP/1.1\r\nHost: a\r\n", 414),
        (GET + "".join(f"X{number}: a\r\n" for number in range(MAX_HEADERS + 1)), 431),
    ],
)
def test_an_unclear_head_is_refused(text: str, status: int) -> None:
    with pytest.raises(BadHead) as refusal:
        body_length(head(text))
    assert refusal.value.status == status


class Told:
    """What httptools says of a request."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each."""
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_message_complete(self) -> None:
        """Called after the body."""
        self.is_whole = True


PIECES = [
    *("GET", "PUT", " ", "/", "/blobs/a/0", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r\n", "\r\n", "\n"),
    *("Host: a", "Host: a", "Content-Length: 3", "Content-Length: 03", "content-length:3"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding", ":", "X", ": ", " ", "\t", "\r", "\x00"),
    *("X: \xe9", "Connection: close", "Expect: 100-continue", ",", "3", "é"),
]
requests = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=16).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda more: PUT + "".join(more) + "\r\n"),
)


@given(text=requests)
def test_whatever_passes_is_read_alike_by_three_parsers(text: str) -> None:
    sent = head(text)
    try:
        length = body_length(sent)
    except BadHead:
        return
    if b"\r\n\r\n" in sent[:-4]:  # the connection ends a head at the first empty line
        return
    body = b"x" * length
    strict = h11.Connection(h11.SERVER)
    strict.receive_data(sent + body)
    request = strict.next_event()
    assert isinstance(request, h11.Request)
    told = Told()
    httptools.HttpRequestParser(told).feed_data(sent + body)
    assert told.headers == [(bytes(name), bytes(value)) for name, value in request.headers]
    assert told.is_whole
    if length:
        data = strict.next_event()
        assert isinstance(data, h11.Data)
        assert len(data.data) == length
    assert isinstance(strict.next_event(), h11.EndOfMessage)
