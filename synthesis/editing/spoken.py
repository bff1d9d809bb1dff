"""What the command says to a person: what was done, what was taken for granted, and where it is."""

from collections.abc import Mapping

from synthesis.editing.wanted import Wanted


def spoken(facts: Mapping[str, object], wanted: Wanted) -> str:
    """A few lines; names of attributes, and no value that only the radiograph's header told."""
    size = facts["image_size"]
    kept = sorted(wanted.source.keys() - wanted.edits.keys())
    asked = sorted(wanted.edits.keys() - wanted.follows)
    lines = [
        f"edited: {', '.join(_change(name, wanted) for name in asked)}",
        f"kept as known: {', '.join(kept) or 'nothing is known, so nothing was held: give --is NAME=VALUE'}",
    ]
    if wanted.follows:
        follows = ", ".join(f"{name} {wanted.edits[name]}" for name in sorted(wanted.follows))
        lines.append(f"follows from it: {follows}")
    if wanted.freed:
        lines.append(f"left open: {', '.join(sorted(wanted.freed))}")
    share = facts["changed_share"]
    if isinstance(share, float):
        lines.append(
            f"{100 * share:.0f} % of the picture changed by more than 1 % of full brightness"
        )
    lines += [
        f"edited radiograph, {size} x {size} pixels: {facts['out']}",
        f"before, after and difference: {facts['difference']}",
        "The pixels are still the patient's chest: both files must stay in the hospital.",
    ]
    return "\n".join(lines)


def _change(name: str, wanted: Wanted) -> str:
    """An attribute's new value, and the old one if it was taken for granted."""
    new = f"{wanted.edits[name]:g}" if name == "age" else wanted.edits[name]
    if name in wanted.assumed:
        return f"{name} {wanted.source[name]} (assumed; say otherwise with --is) -> {new}"
    return f"{name} {new}"
