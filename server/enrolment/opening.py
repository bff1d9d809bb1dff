"""What `fedcxr coordinator init` settled: the address hospitals use. From then on every node must show a certificate."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from federation.field_types import Port, Positive
from federation.files import make_private_folder, write_file
from federation.strict_json import parse_json, to_json
from federation.strict_yaml import STRICT

FOLDER = "enrolment"
VERSION = 1
LOOPBACK = frozenset({"localhost", "127.0.0.1"})


class NotOpened(RuntimeError):
    """Nobody can be invited to this coordinator yet."""

    def __init__(self, state: Path) -> None:
        super().__init__(
            f"the coordinator of {state} has no public name yet: type `fedcxr coordinator init --host NAME`, with the "
            "name or address by which hospitals reach this machine."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Where hospitals find the coordinator."""

    __pydantic_config__: ClassVar = STRICT

    version: int = VERSION
    host: str
    """Name or address by which hospitals reach it."""
    port: Port
    listen: str
    """Address of this machine that the public port is on."""
    image_size: Positive
    """Side of the radiographs of its studies, in pixels; hospitals are told when they join."""

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


def enrolment_folder(state: Path) -> Path:
    """Where everything about invitations and certificates is kept."""
    return make_private_folder(state / FOLDER)


def opening_path(state: Path) -> Path:
    """The file that makes certificates required."""
    return state / FOLDER / "coordinator.json"


def find_opening(state: Path) -> Opening | None:
    """What was settled; None if nothing was.

    Raises:
        ConfigError: if the file is damaged.
    """
    path = opening_path(state)
    if not path.exists():
        return None
    return parse_json(str(path), path.read_bytes(), Opening)


def read_opening(state: Path) -> Opening:
    """What was settled.

    Raises:
        NotOpened: if nothing was.
        ConfigError: if the file is damaged.
    """
    opening = find_opening(state)
    if opening is None:
        raise NotOpened(state)
    return opening


def write_opening(state: Path, opening: Opening) -> None:
    """Settle it."""
    write_file(opening_path(state), to_json(opening))


def listens_on(host: str) -> str:
    """Where to listen for callers of this name: on this machine alone, or on every network it is in."""
    return "127.0.0.1" if host in LOOPBACK else "0.0.0.0"  # noqa: S104  the one public port
