"""The graph of a label model, as an expert writes it down in YAML."""

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from federation.statistics import Pair, in_order, pair_layout
from federation.strict_yaml import STRICT, ConfigError, load_config
from model.conditioning import FINDINGS
from model.label_model.graph import Graph, NoGraph

SITE = "site"
"""The attribute that says which hospital a patient came to; its values are the hospitals' names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelGraph:
    """The file's content."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    parents: dict[str, tuple[str, ...]]
    """Attribute -> what acts on it directly."""
    none_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Finding -> those of which none is present exactly if it is."""

    def __post_init__(self) -> None:
        twice = sorted(self.parents.keys() & self.none_of.keys())
        if twice:
            raise ValueError(f"{', '.join(twice)}: under parents or under none_of, not both")


def load_label_graph(
    path: Path | None, findings: tuple[str, ...], sites: tuple[str, ...] = ()
) -> Graph:
    """Read and check a graph, and keep what a study's attributes have of it.

    Args:
        path: YAML; None for the graph that comes with the program.
        findings: The study's.
        sites: Names of the hospitals.

    Raises:
        ConfigError: naming the file and what is wrong with it.
    """
    if path is None:
        with as_file(files("configs") / "label_graph.yaml") as usual:
            return load_label_graph(usual, findings, sites)
    content = load_config(path, LabelGraph)
    known = (*findings, *(name for name in FINDINGS if name not in findings))
    try:
        graph = Graph(
            values={SITE: sites, **pair_layout(known)},
            parents=content.parents | content.none_of,
            none_of=frozenset(content.none_of),
        )
    except NoGraph as err:
        raise ConfigError(f"{path} cannot be used: {err}") from err
    return graph.restricted_to({SITE, *pair_layout(findings)} & graph.parents.keys())


def pairs_of(graph: Graph, findings: tuple[str, ...]) -> tuple[Pair, ...]:
    """The tables of two attributes that a graph needs: one per arrow, but none for a hospital's or a rule's."""
    arrows = (
        (parent, child)
        for child in graph.order
        if child not in graph.none_of
        for parent in graph.parents[child]
    )
    found = {in_order(*arrow, findings) for arrow in arrows if SITE not in arrow}
    return tuple(sorted(found))
