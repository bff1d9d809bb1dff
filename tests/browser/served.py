"""A console served for a test, and somebody who has entered it without a browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from starlette.types import ASGIApp

from federation.console.doorkeeper import Doorkeeper
from federation.console.serving import serving, taken_place

Build = Callable[[Doorkeeper, int], ASGIApp]
"""(door, port) -> the console."""
PATIENCE_SECONDS = 60.0
"""The first epsilon of a process loads its accountant, which a busy machine takes long for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A console that can be asked."""

    url: str
    """Without a slash at the end."""
    passwords: list[str]
    """Told so far; the last one is good."""


@contextmanager
def served(build: Build) -> Iterator[Served]:
    """A console on a free port of this machine, without a password of its own."""
    told: list[str] = []
    with taken_place("127.0.0.1", 0) as place:
        door = Doorkeeper(kept=None, tell=told.append)
        door.begin()
        with serving(build(door, place.port), place, tls=None):
            yield Served(url=f"http://127.0.0.1:{place.port}", passwords=told)


class Visitor:
    """What a browser does without showing anything: keeps cookies, sends forms with their mark."""

    def __init__(self, console: Served) -> None:
        self.console = console
        self.client = httpx.Client(
            base_url=console.url,
            headers={"origin": console.url},
            trust_env=False,
            timeout=PATIENCE_SECONDS,
        )

    def read(self, path: str) -> httpx.Response:
        """A page, wherever it leads."""
        return self.client.get(path, follow_redirects=True)

    def send(self, path: str, fields: dict[str, str], *, page: str) -> httpx.Response:
        """A form of a page."""
        shown = self.read(page).text
        mark = shown.partition('name="mark" value="')[2].partition('"')[0]
        return self.client.post(path, data={**fields, "mark": mark}, follow_redirects=False)

    def enter(self, password: str | None = None) -> httpx.Response:
        """Give a password; the one that was told if none is given."""
        word = self.console.passwords[-1] if password is None else password
        return self.send("/login", {"password": word}, page="/login")


@contextmanager
def visiting(console: Served) -> Iterator[Visitor]:
    """Somebody who has entered."""
    visitor = Visitor(console)
    with visitor.client:
        assert visitor.enter().status_code == 303
        yield visitor
