"""What the doctor looks at: a state folder, and one visit to its own public port."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.diagnosis import shared
from federation.visit import Visit, Way, pay_visit
from server.endpoint import CoordinatorNotRunning, Endpoint, read_endpoint
from server.enrolment.opening import Opening, find_opening

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  looked for, not listened on


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinator:
    """One coordinator, looked over."""

    state: Path
    roster: Path
    opening: Opening | None
    """What `init` settled."""
    endpoint: Endpoint | None
    """None: it is not running."""
    visit: Callable[[], Visit]
    """To its own public port, from this machine."""

    @property
    def ca_path(self) -> Path:
        """Certificate of its authority."""
        return self.state / "tls" / "ca.crt"


def coordinator_of(state: Path, roster: Path | None) -> Coordinator:
    """A coordinator that nobody has looked at yet."""
    try:
        endpoint = read_endpoint(state)
    except CoordinatorNotRunning:
        endpoint = None
    return Coordinator(
        state=state,
        roster=roster or state / "roster",
        opening=find_opening(state),
        endpoint=endpoint,
        visit=shared(lambda: _visit_of(state, endpoint)),
    )


def _visit_of(state: Path, endpoint: Endpoint | None) -> Visit:
    """Of a coordinator that does not run, nothing is seen."""
    if endpoint is None:
        return Visit()
    host = EVERYWHERE.get(endpoint.host, endpoint.host)
    return pay_visit(Way(host=host, port=endpoint.port, ca_path=state / "tls" / "ca.crt"))
