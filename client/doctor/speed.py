"""How fast the line to the coordinator is: bytes of nothing, more and more of them, until a second is full each way.

They go the way that tensors go: through the proxy, within the profile's limits, and not while the hospital is paused.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from client.config import SiteConfig
from client.enrolment.certificate import read_certificate
from client.refused import NotTaken
from client.transfer.line import Line, LineBroken
from client.transfer.places import Place
from client.transfer.refusals import NotWanted, TicketExpired
from federation.enrolment import CERTIFICATE_HEADER, CERTIFICATE_NAME, KEY_HEADER, header_of
from federation.line_speed import MAX_PROBE_BYTES, SPEED_PATH
from federation.signing import SigningKeyUnusable, load_private, public_pem

FIRST_BYTES = 2**14
SECONDS = 1.0
"""For each way; what would take longer is not begun."""
GROWTH = 4
PIECE = memoryview(bytes(2**16))


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Bytes a second, as measured."""

    down: float
    up: float


class NotMeasured(Exception):
    """The line cannot be measured now; the text says why."""


def measure(site: SiteConfig) -> Speed:
    """Ask for bytes and leave bytes; a few MB and about two seconds at most.

    Raises:
        NotMeasured: with the reason.
    """
    try:
        headers = _who_asks(site.state_path)
        with Line(site) as line:
            _fetch(line, site, headers, 1)  # opens the connection
            down = _rate(lambda num_bytes: _fetch(line, site, headers, num_bytes))
            up = _rate(lambda num_bytes: _leave(line, site, headers, num_bytes))
    except SigningKeyUnusable as err:
        raise NotMeasured("this hospital has no key yet") from err
    except NotWanted as err:
        raise NotMeasured("the coordinator's release is older and measures nothing") from err
    except TicketExpired as err:
        raise NotMeasured("the coordinator does not accept what this hospital signs") from err
    except LineBroken as err:
        raise NotMeasured(f"the line broke, {err}; try again in a minute") from err
    except NotTaken as err:
        raise NotMeasured(str(err)) from err
    limits = site.limits
    return Speed(
        down=min(down, limits.download_bytes_per_second or down),
        up=min(up, limits.upload_bytes_per_second or up),
    )


def megabits(bytes_per_second: float) -> str:
    """As people tell the speed of a line."""
    number = 8 * bytes_per_second / 1e6
    return f"{number:.0f} Mbit/s" if number >= 100 else f"{number:.2g} Mbit/s"


def _rate(move: Callable[[int], None]) -> float:
    """Bytes a second, of the fastest of several moves: a machine that is busy meanwhile only makes them slower."""
    ends, num_bytes, best = time.monotonic() + SECONDS, FIRST_BYTES, 0.0
    while True:
        begun = time.monotonic()
        move(num_bytes)
        now = time.monotonic()
        took = max(now - begun, 1e-6)
        best = max(best, num_bytes / took)
        larger = min(GROWTH * num_bytes, MAX_PROBE_BYTES)
        if larger == num_bytes or now + took * larger / num_bytes > ends:
            return best
        num_bytes = larger


def _fetch(line: Line, site: SiteConfig, headers: dict[str, str], num_bytes: int) -> None:
    place = _place(site, num_bytes)
    for _ in line.pieces(line.ask("GET", place, headers), place, num_bytes):
        pass


def _leave(line: Line, site: SiteConfig, headers: dict[str, str], num_bytes: int) -> None:
    pieces = (PIECE[: num_bytes - first] for first in range(0, num_bytes, len(PIECE)))
    announced = {**headers, "Content-Length": str(num_bytes)}
    line.ask("PUT", _place(site, num_bytes), announced, pieces)


def _place(site: SiteConfig, num_bytes: int) -> Place:
    host, _, port = site.coordinator.rpartition(":")
    target = f"{SPEED_PATH}?bytes={num_bytes}"
    return Place(host=host, port=int(port), target=target, is_bucket=False)


def _who_asks(state_path: Path) -> dict[str, str]:
    """The headers by which Flower's node proves who it is: its key, and the time, signed."""
    key = load_private(state_path / "node.key")
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SigningKeyUnusable(state_path / "node.key")
    now = datetime.now(UTC).isoformat()
    signature = key.sign(now.encode(), ec.ECDSA(SHA256()))
    shown = {
        KEY_HEADER: base64.b64encode(public_pem(key)).decode(),
        "flwr-signature": base64.b64encode(signature).decode(),
        "flwr-timestamp": now,
    }
    certificate = read_certificate(state_path / CERTIFICATE_NAME)
    return shown if certificate is None else {**shown, CERTIFICATE_HEADER: header_of(certificate)}
