"""The gateway as a process: its settings, what it is put together from, and its end."""

import asyncio
import contextlib
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.types import ASGIApp

from federation.bells import bells_of
from federation.identity import Identity
from server.blobs.routes import BlobRoutes
from server.enrolment.members import Members
from server.enrolment.routes import EnrolRoutes
from server.gateway.app import gateway_app
from server.gateway.counters import Counters
from server.gateway.door import Door, listen
from server.gateway.journal import Journal
from server.gateway.limits import GatewayLimits, load_limits
from server.gateway.line import GuardedLine
from server.gateway.speed import SpeedRoute
from server.gateway.strikes import Strikes

logger = logging.getLogger(__name__)

TEND_SECONDS = 2.0
NEVER_SECONDS = 86_400
"""uvicorn waits so long for another request; the line's own limit is far shorter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Where to listen, and the port on loopback where the SuperLink does."""

    host: str
    port: int
    upstream_port: int
    cert_path: Path
    key_path: Path
    ca_path: Path
    """Authority that signed the SuperLink's certificate."""
    state_path: Path
    """The coordinator's state folder, for the blobs in it, its members, and its limits."""
    roster_path: Path
    """Folder with the hospitals' public keys."""


def run_gateway(settings: GatewaySettings) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: if the file with the limits cannot be used.
        OSError: if the port is taken, or the certificate cannot be read.
    """
    _allow_many_files()
    gateway = _Gateway(settings, load_limits(settings.state_path))
    gateway.server.run(sockets=[])  # the door lets callers in, not uvicorn


class _Gateway:
    """What serves one port."""

    def __init__(self, settings: GatewaySettings, limits: GatewayLimits) -> None:
        self._limits = limits
        self._counters = Counters(settings.state_path)
        self._journal = Journal(self._counters)
        self._strikes = Strikes(limits)
        self._identity = Identity(settings.cert_path, settings.key_path)
        self._config = uvicorn.Config(
            self._app(settings),
            http=GuardedLine,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=NEVER_SECONDS,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(self._config)
        self._door = Door(
            listen(settings.host, settings.port),
            identity=self._identity,
            limits=limits,
            journal=self._journal,
            make_line=self._line,
        )

    def _app(self, settings: GatewaySettings) -> ASGIApp:
        state, roster = settings.state_path, settings.roster_path
        members = Members(state=state, roster=roster)
        blobs, enrolment = BlobRoutes(state, members), EnrolRoutes(state, roster, members)
        return gateway_app(
            _upstream(settings),
            limits=self._limits,
            journal=self._journal,
            strikes=self._strikes,
            members=members,
            bells=bells_of(state),
            routes=[*SpeedRoute(members).routes(), *blobs.routes(), *enrolment.routes()],
            while_open=self._open,
        )

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self._door.open():
            tending = asyncio.create_task(self._tend())
            try:
                yield
            finally:
                tending.cancel()
                self._write()
                self._journal.close()

    async def _tend(self) -> None:
        while True:
            self._identity.refresh()
            self._write()
            self._journal.tell()
            await asyncio.sleep(TEND_SECONDS)

    def _write(self) -> None:
        self._counters.num_connections = self._door.num_inside
        try:
            self._counters.write()
        except OSError as err:
            logger.warning("what was counted cannot be written: %s", err.strerror)

    def _line(self, *, on_lost: Callable[[], None]) -> GuardedLine:
        return GuardedLine(
            config=self._config,
            server_state=self.server.server_state,
            limits=self._limits,
            on_refusal=self._note_refusal,
            on_lost=on_lost,
        )

    def _note_refusal(self, host: str, status: int) -> None:
        self._journal.refused(f"head.{status}", host=host)
        self._strikes.note(host, status)


def _upstream(settings: GatewaySettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{settings.upstream_port}",
        verify=ssl.create_default_context(cafile=settings.ca_path),
        timeout=60.0,
        trust_env=False,
    )


def _allow_many_files() -> None:
    """A connection is an open file; the system's usual limit is for people at a terminal."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
