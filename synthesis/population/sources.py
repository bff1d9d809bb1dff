"""Where a population's counts come from: a coordinator's table, or caches that whoever types may read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.cache.cipher import load_key
from client.cache.records import Records, open_cache, open_cache_of
from client.config import load_site
from federation.label_graph import load_label_graph, pairs_of
from federation.messages import SiteCounts
from model.label_model.graph import Graph
from synthesis.population.counts import exact_counts, read_counts

PROFILES = frozenset({".yaml", ".yml"})


class NoSource(ValueError):
    """Neither counts nor caches, both, or caches that do not go together."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: give the counts' JSON file, or --real with a hospital's profile or NAME=CACHE"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What a population is fitted to."""

    graph: Graph
    findings: tuple[str, ...]
    counts: Mapping[str, SiteCounts]
    is_exact: bool


def gather(counts_path: Path | None, real: Sequence[str], graph_path: Path | None) -> Gathered:
    """Read counts, or count.

    Raises:
        NoSource, NoCounts, ConfigError: nothing or the wrong things were given.
        CacheMissing, CacheUnusable: a cache cannot be opened.
    """
    if (counts_path is None) == (not real):
        raise NoSource("counts or caches are needed, and not both")
    if counts_path is not None:
        findings, counts = read_counts(counts_path)
        graph = load_label_graph(graph_path, findings, tuple(counts))
        return Gathered(graph=graph, findings=findings, counts=counts, is_exact=False)
    caches = dict(_open(text) for text in real)
    findings = next(iter(caches.values())).findings
    if len(caches) < len(real) or any(each.findings != findings for each in caches.values()):
        raise NoSource("the caches must be of different hospitals and hold the same findings")
    graph = load_label_graph(graph_path, findings, tuple(caches))
    pairs = pairs_of(graph, findings)
    exact = {name: exact_counts(records, pairs) for name, records in caches.items()}
    return Gathered(graph=graph, findings=findings, counts=exact, is_exact=True)


def _open(text: str) -> tuple[str, Records]:
    """A hospital's name and records, from its profile or from ``NAME=CACHE``."""
    if Path(text).suffix in PROFILES:
        site = load_site(Path(text))
        return site.site_name, open_cache_of(site)
    name, is_named, path = text.partition("=")
    if not is_named or not name:
        raise NoSource(f"{text!r} says no hospital's name")
    return name, open_cache(Path(path), load_key(None))
