"""What a running coordinator tells beside its own output: systemd that it is up, Prometheus its numbers, a log its events."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.event_log import log_events
from federation.logs import configure_logging
from federation.metrics import metrics_served, own_pid
from federation.systemd import ServiceManager, service_manager
from server.metrics import CoordinatorMetrics


@contextmanager
def attended(state_path: Path, *, metrics_port: int) -> Iterator[ServiceManager]:
    """Serve the numbers meanwhile; gives whom to tell that hospitals can connect.

    Raises:
        MetricsPortTaken: another program listens on that port; nothing was started.
    """
    configure_logging()
    collector = CoordinatorMetrics(state_path=state_path, pid=own_pid())
    with metrics_served(metrics_port, collector):
        yield service_manager()


def is_ready(manager: ServiceManager, state_path: Path, sentence: str) -> None:
    """Hospitals can connect: from now on it is watched, and its events are kept."""
    log_events(state_path / "logs", side="coordinator")
    manager.ready(sentence)
