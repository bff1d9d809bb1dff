"""The seven public sets that can be imported."""

from simulation.public_sets.brax import BRAX
from simulation.public_sets.chexpert import CHEXPERT
from simulation.public_sets.mimic import MIMIC
from simulation.public_sets.nih import NIH
from simulation.public_sets.padchest import PADCHEST
from simulation.public_sets.record import PublicSet
from simulation.public_sets.rexgradient import REXGRADIENT
from simulation.public_sets.vindr import VINDR

SETS = {each.name: each for each in (NIH, CHEXPERT, MIMIC, PADCHEST, VINDR, BRAX, REXGRADIENT)}


class UnknownSet(ValueError):
    """No such public set."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no public set {name!r}: give one of {', '.join(SETS)}")


def public_set(name: str) -> PublicSet:
    """The set of a name.

    Raises:
        UnknownSet: for any other name.
    """
    if name not in SETS:
        raise UnknownSet(name)
    return SETS[name]
