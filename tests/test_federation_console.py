"""The door and the guard of a console: who enters, what no question gets past, and how losses become lines."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.console.chart import Line, line_chart
from federation.console.doorkeeper import (
    FAILURE_SECONDS,
    MAX_ADDRESSES,
    MAX_FAILURES,
    Doorkeeper,
    TooManyAttempts,
)
from federation.console.look import duration
from federation.console.password import (
    PasswordFileUnusable,
    PasswordTooShort,
    new_password,
    read_password,
    write_password,
)
from federation.console.serving import PortTaken, is_loopback, taken_place
from federation.console.sessions import IDLE_SECONDS, LIFE_SECONDS, MAX_SESSIONS, Sessions
from federation.sizes import size
from tests.browser.coordinator import served_console
from tests.browser.served import Served, Visitor, visiting


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Served]:
    """Of a coordinator that has nothing yet."""
    with served_console(tmp_path, {}) as served:
        yield served


@pytest.fixture
def stranger(console: Served) -> Iterator[Visitor]:
    """Somebody without the password."""
    visitor = Visitor(console)
    with visitor.client:
        yield visitor


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Seconds since it began."""
        return self.seconds


def test_no_page_is_shown_before_the_password(stranger: Visitor) -> None:
    for path in ("/", "/hospitals", "/studies/toy", "/studies/toy/samples.png"):
        answer = stranger.client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert answer.content == b""
    assert stranger.read("/docs").status_code == 404
    assert stranger.read("/openapi.json").status_code == 404


def test_a_password_that_was_told_opens_once_and_the_next_one_is_told(
    console: Served, stranger: Visitor
) -> None:
    (first,) = console.passwords
    assert stranger.enter("kf3w-9mzt-hh2q-ueca").status_code == 401
    assert stranger.enter(first).status_code == 303
    assert stranger.read("/").status_code == 200
    assert len(console.passwords) == 2
    other = Visitor(console)
    with other.client:
        assert other.enter(first).status_code == 401
        assert other.enter().status_code == 303


def test_whoever_enters_gets_a_token_that_was_never_used_and_loses_it_by_leaving(
    stranger: Visitor,
) -> None:
    stranger.read("/login")
    (before,) = stranger.client.cookies.values()
    answer = stranger.enter()
    (after,) = stranger.client.cookies.values()
    assert before != after
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert after not in stranger.read("/").text
    assert stranger.send("/logout", {}, page="/").status_code == 303
    stranger.client.cookies.set("x", "")
    answer = stranger.client.get("/", headers={"cookie": f"{cookie.partition('=')[0]}={after}"})
    assert answer.status_code == 303  # the server forgot it, not only the browser


def test_guessing_ends_after_five_wrong_passwords_even_with_the_right_one(
    stranger: Visitor,
) -> None:
    for _ in range(MAX_FAILURES):
        assert stranger.enter("wrong").status_code == 401
    answer = stranger.enter()
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= FAILURE_SECONDS + 1
    assert "too many wrong passwords" in answer.text


def test_no_other_site_can_send_a_form(console: Served, stranger: Visitor) -> None:
    with visiting(console) as visitor:
        for origin in ("https://evil.example", "null", None):
            headers = {} if origin is None else {"origin": origin}
            request = visitor.client.build_request(
                "POST", "/logout", data={"mark": marked(visitor)}
            )
            request.headers.pop("origin")
            request.headers.update(headers)
            assert visitor.client.send(request).status_code == 403
        assert visitor.client.post("/logout", data={"mark": "0" * 64}).status_code == 403
        assert visitor.client.post("/logout", data={}).status_code == 403
        stranger.read("/login")
        of_another = {"mark": marked(stranger)}
        assert visitor.client.post("/logout", data=of_another).status_code == 403
        assert visitor.read("/").url.path == "/"


def marked(visitor: Visitor) -> str:
    """The mark of the forms that somebody is shown."""
    return visitor.read("/").text.partition('name="mark" value="')[2].partition('"')[0]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1", ""])
def test_the_console_answers_to_its_own_names_alone(stranger: Visitor, host: str) -> None:
    assert stranger.client.get("/login", headers={"host": host}).status_code in {400, 421}


@pytest.mark.parametrize(
    "path", ["/login", "/", "/shared/look.css", "/nowhere", "/shared/base.html"]
)
def test_every_answer_forbids_foreign_scripts_frames_and_copies(
    stranger: Visitor, path: str
) -> None:
    headers = stranger.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_what_is_no_form_is_not_read(stranger: Visitor) -> None:
    stranger.read("/login")
    post = stranger.client.post
    assert post("/login", content=b"a=" + b"b" * 2**16).status_code == 413
    assert post("/login", content=iter([b"a=b"])).status_code == 411
    assert post("/login", content=b"&".join(b"a%d=b" % n for n in range(99))).status_code == 403
    assert post("/login", content=b"\xff\xfe=\x00").status_code == 403
    assert stranger.client.put("/login", content=b"").status_code == 405


def test_a_page_that_cannot_be_shown_says_what_to_do_and_nothing_of_the_program(
    console: Served, tmp_path: Path
) -> None:
    with visiting(console) as visitor:
        broken = tmp_path / "studies" / "toy-000000000000"
        broken.mkdir(parents=True)
        (broken / "study.json").write_text("{]")
        answer = visitor.read("/")
        assert answer.status_code == 500
        assert "the study is not JSON" in answer.text
        assert "Traceback" not in answer.text
        assert "To the overview" in visitor.read("/nowhere").text


def test_sessions_end_when_nobody_uses_them_and_after_a_working_day() -> None:
    clock = Clock()
    sessions = Sessions(now=clock)
    idle, busy = sessions.begin(), sessions.begin()
    while clock.seconds <= LIFE_SECONDS:
        assert sessions.is_open(busy, is_use=True)
        assert sessions.is_open(idle, is_use=False) == (clock.seconds <= IDLE_SECONDS)
        clock.seconds += IDLE_SECONDS / 2
    assert not sessions.is_open(busy, is_use=True)


def test_no_more_sessions_are_open_than_a_hospital_has_people() -> None:
    sessions = Sessions()
    tokens = [sessions.begin() for _ in range(MAX_SESSIONS + 1)]
    assert [sessions.is_open(token, is_use=True) for token in tokens] == [
        False,
        *[True] * MAX_SESSIONS,
    ]


def test_wrong_passwords_are_counted_by_address_and_forgotten_after_a_while() -> None:
    clock = Clock()
    told: list[str] = []
    door = Doorkeeper(kept=None, tell=told.append, now=clock)
    door.begin()
    for _ in range(MAX_FAILURES):
        assert not door.admits("wrong", "10.0.0.1")
    with pytest.raises(TooManyAttempts, match="wait 15 minutes"):
        door.admits(told[-1], "10.0.0.1")
    assert door.admits(told[-1], "10.0.0.2")
    clock.seconds = FAILURE_SECONDS
    assert door.admits(told[-1], "10.0.0.1")


def test_many_addresses_cannot_fill_the_memory() -> None:
    door = Doorkeeper(kept=None, tell=pytest.fail)
    for number in range(MAX_ADDRESSES + 10):
        assert not door.admits("wrong", f"10.0.{number // 256}.{number % 256}")
    assert len(door._failures) == MAX_ADDRESSES  # noqa: SLF001  what an attacker would fill


def test_a_kept_password_is_recognised_and_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "console.password"
    assert read_password(path) is None
    write_password(path, "correct horse")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "horse" not in path.read_text()
    kept = read_password(path)
    assert kept is not None
    assert [kept.fits(word) for word in ("correct horse", "correct horsf", "")] == [
        True,
        False,
        False,
    ]
    path.write_text("scrypt 00 00\n")
    with pytest.raises(PasswordFileUnusable, match="remove it, or write it anew"):
        read_password(path)
    with pytest.raises(PasswordTooShort, match="at least 12"):
        write_password(path, "short")


def test_passwords_that_open_once_are_never_the_same() -> None:
    assert len({new_password() for _ in range(100)}) == 100


def test_a_port_of_another_program_is_said_to_be_taken() -> None:
    with taken_place("127.0.0.1", 0) as place:
        place.listener.listen()
        with pytest.raises(PortTaken, match="--port"), taken_place("127.0.0.1", place.port):
            pass


def test_only_this_machines_own_addresses_need_no_tls() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not any(map(is_loopback, ("::", "10.1.2.3", "example.org", "127.0.0.1.example.org")))


@given(
    values=st.lists(
        st.none() | st.floats(-1e6, 1e6, allow_nan=False) | st.just(math.nan),
        min_size=1,
        max_size=40,
    )
)
def test_every_point_lies_in_the_chart_and_gaps_stay_gaps(values: list[float | None]) -> None:
    points = list(enumerate(values, start=1))
    chart = line_chart([Line(name="loss", kind="mean", points=points)], num_rounds=len(values))
    known = [value for value in values if value is not None and not math.isnan(value)]
    assert (chart is None) == (not known)
    if chart is None:
        return
    (curve,) = chart.curves
    places = [
        tuple(map(float, pair.split())) for pair in curve.path.replace("M", "L").split("L") if pair
    ]
    assert len(places) == len(known)
    for x, y in places:
        assert chart.left <= x <= chart.right
        assert chart.top <= y <= chart.bottom
    numbers = [number for number, value in points if value is not None and not math.isnan(value)]
    breaks = sum(later - earlier > 1 for earlier, later in pairwise(numbers))
    assert curve.path.count("M") == breaks + 1


def test_a_lower_loss_is_drawn_lower_and_labels_are_round_numbers() -> None:
    points = [(1, 0.91), (2, 0.5), (3, 0.13)]
    chart = line_chart([Line(name="loss", kind="mean", points=points)], num_rounds=3)
    assert chart is not None
    heights = [float(pair.split()[1]) for pair in chart.curves[0].path[1:].split("L")]
    assert heights == sorted(heights)  # of SVG, whose zero is at the top
    assert [tick.text for tick in chart.up] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [tick.text for tick in chart.across] == ["1", "2", "3"]


def test_lengths_of_time_and_sizes_are_written_for_people() -> None:
    seconds = (5, 65, 3 * 3600 + 120, 50 * 3600)
    assert [duration(each) for each in seconds] == ["5 s", "1 min 05 s", "3 h 02 min", "2 d 2 h"]
    assert [size(each) for each in (12, 2_400_000, 5.3e9)] == ["12 B", "2.4 MB", "5.3 GB"]


def test_nobody_without_the_password_learns_what_the_console_is_about(stranger: Visitor) -> None:
    page = stranger.read("/login").text
    assert "Studies" not in page
    assert isinstance(stranger.client, httpx.Client)
    assert stranger.console.passwords[0] not in page
