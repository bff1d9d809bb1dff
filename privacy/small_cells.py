"""Counts that leave without noise: small ones withheld, and none of them to be had by subtraction.

All attributes of a table count the same patients, so whoever knows the total learns of a withheld count from
the ones beside it. Counts are therefore given in steps of ``min_cell``, rounded down, which leaves withheld counts
room to be anything from 0 to ``min_cell`` - 1. Where the room does not suffice, the whole attribute is
withheld. Patients of whom a value is not known are never counted, so that a table is the same whether the
patients of a withheld count have that value or one that nobody recorded. This protects the table against its
reader. It is no guarantee against somebody who knows all other patients; noise is.
"""

from collections.abc import Sequence


def in_steps(counts: Sequence[int], *, min_cell: int) -> tuple[int | None, ...]:
    """Counts rounded down to multiples of ``min_cell``; None for those below it, which leave no trace in the others.

    For tables of patients of whom nobody knows how many they are, see `privacy.left_out`.
    """
    return tuple(count // min_cell * min_cell if count >= min_cell else None for count in counts)


def withhold_small(counts: Sequence[int], *, total: int, min_cell: int) -> tuple[int | None, ...]:
    """What may be said of one attribute; None for a count that is withheld.

    Args:
        counts: Patients by value, of those whose value is known.
        total: All patients, also those whose value is not known.
        min_cell: At least 1; counts below it are withheld, others become multiples of it.
    """
    shown = [count for count in counts if count >= min_cell]
    num_withheld = len(counts) - len(shown)
    if _gives_away(shown, num_withheld=num_withheld, total=total, min_cell=min_cell):
        return (None,) * len(counts)
    return in_steps(counts, min_cell=min_cell)


def _gives_away(shown: Sequence[int], *, num_withheld: int, total: int, min_cell: int) -> bool:
    """Whether a reader who takes every value for known could tell that a withheld count is not 0.

    That is so if all withheld counts together are few and cannot be 0, or if even the largest counts that
    can be withheld leave something for each one.
    """
    room, remainder = min_cell - 1, total - sum(shown)
    most_shown = sum(count // min_cell * min_cell + room for count in shown)
    least_withheld = total // min_cell * min_cell - most_shown
    few = remainder < min_cell and least_withheld > 0
    each = remainder <= num_withheld * room and least_withheld > (num_withheld - 1) * room
    return num_withheld > 0 and (few or each)


def withhold_below(counts: Sequence[int], *, min_cell: int) -> tuple[int | None, ...]:
    """Counts that carry noise, without those below ``min_cell``: they would say little and look like much."""
    return tuple(count if count >= min_cell else None for count in counts)
