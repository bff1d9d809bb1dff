"""Putting something else in the place of one of Flower's private names, or refusing to go on without it."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

Owner = ModuleType | type


class FlowerChanged(RuntimeError):
    """This release of Flower is not the one that this code was written for."""

    def __init__(self, owner: Owner, name: str) -> None:
        super().__init__(
            f"Flower has no {owner.__name__}.{name} any more, so its node cannot be held to the installed "
            "release: install the version of flwr that this release names."
        )


def replace_name(owner: Owner, name: str, make: Callable[[Any], object]) -> None:
    """Replace a name by what ``make`` builds from the original.

    Raises:
        FlowerChanged: if there is no such name.
    """
    if not hasattr(owner, name):
        raise FlowerChanged(owner, name)
    setattr(owner, name, make(getattr(owner, name)))
