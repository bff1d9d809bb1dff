"""What a running node tells beside its own output: systemd how it is, Prometheus its numbers, a log its events."""

from collections.abc import Iterator
from contextlib import contextmanager

from client.config import SiteConfig
from client.metrics import HospitalMetrics
from federation.event_log import log_events
from federation.logs import configure_logging
from federation.metrics import metrics_served, own_pid
from federation.systemd import ServiceManager, service_manager


@contextmanager
def attended(site: SiteConfig, *, metrics_port: int) -> Iterator[ServiceManager]:
    """Keep events and serve the numbers meanwhile; gives whom to tell how the node is.

    Raises:
        MetricsPortTaken: another program listens on that port; nothing was started.
    """
    configure_logging()
    with metrics_served(metrics_port, HospitalMetrics(site=site, pid=own_pid())):
        log_events(site.state_path / "logs", side="hospital", site=site.site_name)
        yield service_manager()
