"""The coordinator's console, put together and served until it is stopped."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from federation.certificates import (
    AuthorityUnusable,
    Certificate,
    issue_certificate,
    make_authority,
)
from federation.console.doorkeeper import Doorkeeper
from federation.console.guard import LOOPBACK, guarded, origins_of
from federation.console.look import environment
from federation.console.pages import Console, Link, console_app
from federation.console.password import read_password
from federation.console.serving import is_loopback, serving, taken_place
from federation.files import AlreadyRunning
from server.console.connections import Connections
from server.console.pages import pages
from server.endpoint import CoordinatorNotRunning
from server.enrolment.renewing import present_authority

logger = logging.getLogger(__name__)

RENEW_SECONDS = 60.0
"""Between two looks at how long the certificate still lasts."""
PASSWORD_NAME = "console.password"  # noqa: S105  a file's name
COMMAND = "fedcxr coordinator console"
CERTIFICATE = "console"
"""Folder of its certificate, beside the authority's."""
LINKS = (
    Link(path="/", text="Studies", below="/studies/"),
    Link(path="/hospitals", text="Hospitals"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleSettings:
    """How the coordinator's console is served."""

    state_path: Path
    host: str
    port: int
    names: tuple[str, ...] = ()
    """By which browsers reach it, besides the address it listens on; needed beyond this machine."""


class NoName(ValueError):
    """A console for other machines that nobody could name."""

    def __init__(self) -> None:
        super().__init__(
            "beyond this machine the console needs the name or address that is typed into the browser: add --name, or "
            "leave --listen away and reach it through an SSH tunnel"
        )


def serve_console(
    settings: ConsoleSettings,
    *,
    stop: threading.Event,
    ready: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Serve until ``stop`` is set.

    Args:
        settings: Where.
        stop: Ends it.
        ready: Takes the address to open.
        tell: Takes every password that opens once.

    Raises:
        CoordinatorNotRunning: there is no coordinator's folder.
        NoName: it is to be reached from other machines, but nobody said by which name.
        PasswordFileUnusable: the kept password is damaged.
        PortTaken: another program listens there.
    """
    if not settings.state_path.is_dir():
        raise CoordinatorNotRunning(settings.state_path)
    tls, hosts = _identity(settings)
    with taken_place(settings.host, settings.port) as place:
        door = Doorkeeper(kept=read_password(settings.state_path / PASSWORD_NAME), tell=tell)
        app = coordinator_console(
            Connections(state_path=settings.state_path),
            door,
            hosts=hosts,
            port=place.port,
            is_secure=tls is not None,
        )
        with serving(app, place, tls=tls):
            ready(f"{'https' if tls else 'http'}://{hosts[0]}:{place.port}/")
            door.begin()
            while not stop.wait(RENEW_SECONDS):
                if tls is not None:
                    _renew(settings)


def coordinator_console(
    connections: Connections,
    door: Doorkeeper,
    *,
    hosts: tuple[str, ...],
    port: int,
    is_secure: bool,
) -> ASGIApp:
    """The application behind its guard."""
    console = Console(
        title="fedcxr coordinator",
        links=LINKS,
        environment=environment("server.console"),
        doorkeeper=door,
        command=COMMAND,
        cookie=f"fedcxr-coordinator-{port}",
        is_secure=is_secure,
    )
    app = console_app(console, pages)
    app.state.connections = connections
    return guarded(app, origins=origins_of(hosts, port, is_secure=is_secure))


def _identity(settings: ConsoleSettings) -> tuple[Certificate | None, tuple[str, ...]]:
    """The certificate, and the names it is reached by; on this machine alone nobody listens on the line."""
    if is_loopback(settings.host):
        return None, LOOPBACK
    if not settings.names:
        raise NoName
    folder = settings.state_path / "tls"
    authority = make_authority(folder)
    return issue_certificate(folder / CERTIFICATE, authority, settings.names), settings.names


def _renew(settings: ConsoleSettings) -> None:
    """Have the certificate last: what is on the disk is taken up when somebody connects."""
    try:
        authority = present_authority(settings.state_path)
        issue_certificate(settings.state_path / "tls" / CERTIFICATE, authority, settings.names)
    except (AuthorityUnusable, AlreadyRunning, OSError) as err:
        logger.error("the console's certificate cannot be renewed: %s", err)  # noqa: TRY400  a sentence
