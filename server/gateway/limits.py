"""How much one caller may ask of the public port, and how long it may take over it.

The numbers stand in ``gateway.yaml`` in the coordinator's state folder where they are not as here; a hospital group
that goes out through one address may need more of some.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from federation.field_types import Positive, Rate
from federation.strict_yaml import STRICT, load_config

FILE_NAME = "gateway.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayLimits:
    """What the gateway bears."""

    __pydantic_config__: ClassVar = STRICT

    max_connections: Positive = 1000
    """Open at a time, from everywhere."""
    max_connections_per_address: Positive = 64
    """Open at a time, from one address. A hospital's node needs five or six."""
    connections_per_second: Rate = 10.0
    """New ones from one address, in the long run."""
    connections_at_once: Positive = 100
    """New ones from one address, in a moment."""
    refusals_per_second: Rate = 1.0
    """Refused requests from one address, in the long run; beyond, it is not listened to."""
    refusals_at_once: Positive = 60
    """Refused requests from one address, in a moment."""
    calls_per_second: Rate = 100.0
    """Calls of one hospital's node, in the long run."""
    calls_at_once: Positive = 500
    """Calls of one hospital's node, in a moment."""
    hold_seconds: Rate = 10.0
    """For which a node that asks for work waits for some; Flower's waits 30 for any answer."""
    handshake_seconds: Rate = 10.0
    """To agree on keys."""
    head_seconds: Rate = 10.0
    """To send the head of a request, from its first byte; on a new connection, from its beginning."""
    idle_seconds: Rate = 20.0
    """Between an answer and the next request. Flower's nodes give a connection up after 5."""
    body_grace_seconds: Rate = 20.0
    """To send a body, and as long again as it takes at the slowest pace."""
    min_body_bytes_per_second: Positive = 8192
    """The slowest pace."""


def load_limits(state_path: Path) -> GatewayLimits:
    """The limits of the coordinator in this folder.

    Raises:
        ConfigError: if there is a file with limits that cannot be used.
    """
    path = state_path / FILE_NAME
    return load_config(path, GatewayLimits) if path.exists() else GatewayLimits()
