"""What depends on what: attributes, their values, and arrows from causes to what they act on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

NOT_PRESENT, PRESENT = 0, 1
"""Numbers of a finding's two values."""


class NoGraph(ValueError):
    """Arrows that no label model can be made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A directed graph without circles. Equal graphs give label models of equal shape."""

    values: Mapping[str, tuple[str, ...]]
    """Attribute -> the words for its values; in arrays a value is its place here, from 0 on."""
    parents: Mapping[str, tuple[str, ...]]
    """Attribute -> what acts on it directly."""
    none_of: frozenset[str] = frozenset()
    """Attributes that are present exactly if none of their parents is."""

    def __post_init__(self) -> None:
        for name, parents in self.parents.items():
            for each in (name, *parents):
                if each not in self.values:
                    raise NoGraph(
                        f"{each!r} is not an attribute: there are {', '.join(self.values)}"
                    )
                if each not in self.parents:
                    raise NoGraph(
                        f"{each} acts on {name} and has no line of its own: write `{each}: []`"
                    )
            if len(set(parents)) < len(parents):
                raise NoGraph(f"a parent of {name} stands twice: name each once")
        for name in sorted(self.none_of):
            if any(len(self.values[each]) != 2 for each in (name, *self.parents[name])):
                raise NoGraph(f"{name} can only be none of findings: leave other attributes out")
        _ = self.order

    @property
    def order(self) -> tuple[str, ...]:
        """All attributes, parents before what they act on.

        Raises:
            NoGraph: there is a circle.
        """
        try:
            return tuple(TopologicalSorter(self.parents).static_order())
        except CycleError as err:
            circle = " -> ".join(reversed(err.args[1]))
            raise NoGraph(
                f"the arrows {circle} go round in a circle: take one of them out"
            ) from err

    def descendants(self, names: Collection[str]) -> frozenset[str]:
        """What some attributes act on, directly or through others; without themselves."""
        reached = set(names)
        for name in self.order:
            if reached.intersection(self.parents[name]):
                reached.add(name)
        return frozenset(reached.difference(names))

    def restricted_to(self, names: Collection[str]) -> "Graph":
        """The graph of some of the attributes and the arrows between them."""
        return Graph(
            values={name: words for name, words in self.values.items() if name in names},
            parents={
                name: tuple(each for each in parents if each in names)
                for name, parents in self.parents.items()
                if name in names
            },
            none_of=self.none_of.intersection(names),
        )
