"""The hospital's console, put together and served on this machine alone until it is stopped."""

import threading
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp

from client.config import load_site
from client.console.acts import acts
from client.console.pages import pages
from federation.console.doorkeeper import Doorkeeper
from federation.console.guard import LOOPBACK, guarded, origins_of
from federation.console.look import environment
from federation.console.pages import Console, Link, console_app
from federation.console.password import read_password
from federation.console.serving import serving, taken_place

PASSWORD_NAME = "console.password"  # noqa: S105  a file's name
COMMAND = "fedcxr hospital console"
LINKS = (
    Link(path="/", text="Today"),
    Link(path="/data", text="Data"),
    Link(path="/plans", text="Plans", below="/plans/"),
    Link(path="/left", text="What left", below="/left/"),
    Link(path="/ledger", text="Privacy ledger"),
    Link(path="/log", text="Log"),
)


def serve_console(
    site_path: Path,
    port: int,
    *,
    stop: threading.Event,
    ready: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Serve until ``stop`` is set; nobody reaches it from another machine.

    Args:
        site_path: The hospital's profile.
        port: 0 chooses one.
        stop: Ends it.
        ready: Takes the address to open.
        tell: Takes every password that opens once.

    Raises:
        ConfigError: the profile cannot be used.
        PasswordFileUnusable: the kept password is damaged.
        PortTaken: another program listens there.
    """
    site = load_site(site_path)
    with taken_place(LOOPBACK[0], port) as place:
        door = Doorkeeper(kept=read_password(site.state_path / PASSWORD_NAME), tell=tell)
        app = hospital_console(site_path, door, name=site.site_name, port=place.port)
        with serving(app, place, tls=None):
            ready(f"http://{LOOPBACK[0]}:{place.port}/")
            door.begin()
            stop.wait()


def hospital_console(site_path: Path, door: Doorkeeper, *, name: str, port: int) -> ASGIApp:
    """The application behind its guard."""
    console = Console(
        title=f"fedcxr hospital {name}",
        links=LINKS,
        environment=environment("client.console"),
        doorkeeper=door,
        command=COMMAND,
        cookie=f"fedcxr-hospital-{port}",
        is_secure=False,
    )
    app = console_app(console, pages, acts)
    app.state.site_path = site_path
    return guarded(app, origins=origins_of(LOOPBACK, port, is_secure=False))
