"""The door and the guard of a console: who enters, and what no question gets past."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from client.console.acts import acts as hospitals_acts
from client.console.pages import pages as hospitals_pages
from federation.console.doorkeeper import (
    FAILURE_SECONDS,
    MAX_ADDRESSES,
    MAX_FAILURES,
    Doorkeeper,
    TooManyAttempts,
)
from federation.console.pages import door, form_of, signed_in
from federation.console.password import (
    PasswordFileUnusable,
    PasswordTooShort,
    new_password,
    read_password,
    write_password,
)
from federation.console.serving import PortTaken, is_loopback, taken_place
from federation.console.sessions import IDLE_SECONDS, LIFE_SECONDS, MAX_SESSIONS, Sessions
from server.console.pages import pages as coordinators_pages
from tests.browser.coordinator import served_console
from tests.browser.served import Served, Visitor, visiting


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Served]:
    """Of a coordinator that has nothing yet."""
    with served_console(tmp_path, dict) as served:
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


def test_every_page_needs_the_password_and_everything_that_changes_needs_a_form_of_ours() -> None:
    routers = (door, coordinators_pages, hospitals_pages, hospitals_acts)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    open_ones, count = set(), 0
    for route in routes:
        asked = {each.call for each in route.dependant.dependencies}
        assert route.methods == ({"POST"} if form_of in asked else {"GET"}), route.path
        open_ones |= set() if signed_in in asked else {(*route.methods, route.path)}
        count += 1
    assert count == sum(len(router.routes) for router in routers) > 15
    assert open_ones == {("GET", "/login"), ("POST", "/login"), ("GET", "/shared/{name}")}


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
    assert "Too many wrong passwords" in answer.text


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
        answer = visitor.read("/studies/toy-000000000000")
        assert answer.status_code == 500
        assert "its study.json is damaged" in answer.text
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


def test_a_network_with_many_addresses_has_no_more_guesses_than_one() -> None:
    door = Doorkeeper(kept=None, tell=pytest.fail)
    for number in range(MAX_FAILURES):
        assert not door.admits("wrong", f"2001:db8::{number:x}")
    with pytest.raises(TooManyAttempts):
        door.admits("wrong", "2001:db8::ffff:1")
    assert not door.admits("wrong", "2001:db8:0:1::1")
    for number in range(MAX_FAILURES):
        assert not door.admits("wrong", f"::ffff:10.0.0.{number}")
    assert not door.admits("wrong", "10.0.0.9")


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


def test_nobody_without_the_password_learns_what_the_console_is_about(stranger: Visitor) -> None:
    page = stranger.read("/login").text
    assert "Studies" not in page
    assert isinstance(stranger.client, httpx.Client)
    assert stranger.console.passwords[0] not in page
