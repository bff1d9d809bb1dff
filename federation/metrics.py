"""Numbers for Prometheus, on this machine alone: read from what is on the disk, at the moment somebody asks.

Nothing is counted twice and nothing is lost in a restart: a number here is what the record says. No metric carries
anything of a patient; labels are names of studies, of hospitals and of states.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import psutil
from cryptography import x509
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from federation.bundle import bundle_version

LOOPBACK = "127.0.0.1"
PREFIX = "fedcxr_"


class MetricsPortTaken(RuntimeError):
    """Another program listens where Prometheus was to read."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} on {LOOPBACK} is in use by another program: whoever runs this service names another "
            "--metrics-port, and tells Prometheus"
        )


class Collector(Protocol):
    """Gives all metrics of one side, as they are now."""

    def collect(self) -> Iterable[Metric]:
        """Look once."""


def text_of(collector: Collector) -> str:
    """Everything once, in Prometheus' text format."""
    return generate_latest(_registry(collector)).decode()


def facts_of(collector: Collector) -> dict[str, object]:
    """Everything once, for a program: a list of values with their labels for each name."""
    return {
        _full_name(metric): [{**sample.labels, "value": sample.value} for sample in metric.samples]
        for metric in collector.collect()
    }


@contextmanager
def metrics_served(port: int, collector: Collector) -> Iterator[None]:
    """Have Prometheus read the metrics at ``/metrics`` of a loopback port meanwhile; 0 serves none.

    Raises:
        MetricsPortTaken: another program listens there.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=_registry(collector))
    except OSError as err:
        if err.errno != errno.EADDRINUSE:
            raise
        raise MetricsPortTaken(port) from err
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gauge(
    name: str, what: str, values: Mapping[tuple[str, ...], float], labels: tuple[str, ...]
) -> Metric:
    """One metric with a value for each combination of labels."""
    return _filled(GaugeMetricFamily(PREFIX + name, what, labels=labels), values)


def counter(
    name: str, what: str, values: Mapping[tuple[str, ...], float], labels: tuple[str, ...]
) -> Metric:
    """One metric whose values only grow; ``_total`` is put behind its name."""
    return _filled(CounterMetricFamily(PREFIX + name, what, labels=labels), values)


def number(name: str, what: str, value: float) -> Metric:
    """One metric without labels."""
    return gauge(name, what, {(): value}, ())


def machine_metrics(folder: Path, *, pid: int | None) -> Iterator[Metric]:
    """What any service needs: its release, its memory with all that it started, and room on its disk."""
    yield gauge("release_info", "Installed release.", {(bundle_version(),): 1.0}, ("release",))
    free = shutil.disk_usage(folder).free
    yield number("disk_free_bytes", "Free room where the state folder is.", free)
    if pid is not None:
        what = "Memory of the service and of all processes that it started."
        yield number("resident_bytes", what, _resident_bytes(pid))


def certificate_metrics(certificates: Mapping[str, Path]) -> Metric:
    """Seconds for which certificates are in force; one that is missing or unreadable has none."""
    left: dict[tuple[str, ...], float] = {}
    for name, path in certificates.items():
        with suppress(OSError, ValueError):
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            left[name,] = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()
    what = "Seconds until a certificate expires; below 0 it has."
    return gauge("certificate_expiry_seconds", what, left, ("certificate",))


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[tuple[str, ...], float]
) -> Metric:
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _full_name(metric: Metric) -> str:
    """As Prometheus reads it."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _resident_bytes(pid: int) -> float:
    total = 0
    with suppress(psutil.Error):
        service = psutil.Process(pid)
        for process in (service, *service.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return float(total)


def _registry(collector: Collector) -> CollectorRegistry:
    """With the time of the look, by which a scrape that hangs is told from a service that does."""

    class Look:
        def collect(self) -> Iterator[Metric]:
            started = time.monotonic()
            yield from collector.collect()
            seconds = time.monotonic() - started
            yield number("look_seconds", "Time that reading all of this took.", seconds)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Look())  # a collector by its shape
    return registry


def own_pid() -> int:
    """This process, for a service that tells of itself."""
    return os.getpid()
