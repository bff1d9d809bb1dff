"""What the doctor looks at: a profile, one visit to the coordinator, and the study if it is known; each made once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.config import SiteConfig
from client.doctor.speed import NotMeasured, Speed, measure
from client.plans.store import kept_plans
from client.transfer.proxy import proxy_towards
from client.transfer.refusals import ProxyUnusable
from federation.config import StudyConfig
from federation.diagnosis import shared
from federation.visit import Trouble, Visit, Way, pay_visit


@dataclass(frozen=True, kw_only=True, slots=True)
class Hospital:
    """One hospital, looked over."""

    site: SiteConfig
    site_path: Path
    study: StudyConfig | None
    """That it is to take part in; None: not known yet."""
    visit: Callable[[], Visit]
    """The one visit that all checks share."""
    speed: Callable[[], Speed | str]
    """The one measurement of the line, or why there is none."""

    @property
    def host(self) -> str:
        """Of the coordinator."""
        return self.site.coordinator.rpartition(":")[0]

    @property
    def port(self) -> int:
        """Of the coordinator."""
        return int(self.site.coordinator.rpartition(":")[2])


def hospital_of(site: SiteConfig, site_path: Path, study: StudyConfig | None) -> Hospital:
    """A hospital that nobody has looked at yet."""
    visit = shared(lambda: _visit_of(site))
    speed = shared(lambda: _speed_of(site, visit()))
    return Hospital(site=site, site_path=site_path, study=study, visit=visit, speed=speed)


def study_of_last_plan(site: SiteConfig) -> StudyConfig | None:
    """What the coordinator last asked this hospital to take part in; None if it never did."""
    kept = kept_plans(site.state_path)
    return kept[0].plan.study if kept else None


def _speed_of(site: SiteConfig, visit: Visit) -> Speed | str:
    if visit.status != 200 or not visit.is_trusted:
        return "cannot be seen until the coordinator's port is reached and well"
    try:
        return measure(site)
    except NotMeasured as err:
        return f"cannot be measured: {err}"


def _visit_of(site: SiteConfig) -> Visit:
    host, _, port = site.coordinator.rpartition(":")
    try:
        proxy = proxy_towards(host, int(port), profile=site.proxy)
    except ProxyUnusable:
        return Visit(trouble=Trouble.PROXY_PORT)
    way = Way(
        host=host,
        port=int(port),
        ca_path=site.ca_path,
        proxy=(proxy.host, proxy.port) if proxy else None,
        proxy_headers=proxy.headers if proxy else {},
    )
    return pay_visit(way)
