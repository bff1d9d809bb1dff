"""What a person should look into, in sentences; nothing that is small or may be chance."""

from collections.abc import Iterator
from dataclasses import dataclass

from synthesis.number_format import between, count, number
from synthesis.stress.figures import Gap
from synthesis.stress.flips import Flips
from synthesis.stress.run import Edits, StressResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Concern:
    """One thing to look into."""

    sentence: str
    shared: bool
    """Whether the reference does at least half of it on the same pictures, so that these may be to blame."""


def concerns(result: StressResult) -> list[Concern]:
    """All of them, groups first."""
    return [*_of_groups(result), *(one for edits in result.edits for one in _of_edits(edits))]


def _of_groups(result: StressResult) -> Iterator[Concern]:
    for table in result.tables:
        for label, gap in table.concerns:
            yield Concern(
                sentence=f"On {table.title}, {label}: {_lower(gap)}.", shared=gap.is_shared
            )


def _lower(gap: Gap) -> str:
    lower = f"{gap.measure} is {number(-gap.gap.value)} lower than for the rest"
    return f"{lower} {between(gap.gap.interval)}"


def _of_edits(edits: Edits) -> Iterator[Concern]:
    for flips in edits.flips:
        if flips.concern:
            yield Concern(
                sentence=f"On edited {edits.title}, {flips.what}: {flips.concern}, {_measured(flips)}.",
                shared=flips.is_shared,
            )


def _measured(flips: Flips) -> str:
    flipped = f"{count(flips.flipped)} flip {between(flips.flipped.interval)}"
    return f"{flipped}, the score moves by {number(flips.shift)} {between(flips.shift_interval)}"
