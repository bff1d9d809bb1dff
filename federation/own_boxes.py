"""Names of boxes that hospitals open themselves: the coordinator gives leave for an owner's, each parcel makes one of it."""

import re

_OWN_BOX = re.compile(r"(.+)\.[0-9a-f]{16}")


def own_box(owner: str, digest: str) -> str:
    """The box for one parcel of whoever may open boxes under a name: another parcel has another.

    Args:
        owner: the name, or a link that ends with it.
        digest: of the parcel, 64 hexadecimal digits.
    """
    return f"{owner}.{digest[:16]}"


def owner_of(space: str) -> str | None:
    """Under whose name a box stands; None for a space that is no such box."""
    found = _OWN_BOX.fullmatch(space)
    return found[1] if found else None
