"""What a hospital may be asked to count before a study: these attributes and values, and nothing else.

Both sides know the table's layout, so that an answer carries numbers only: no name, no word, no free text.
"""

from collections.abc import Sequence
from fractions import Fraction

from model.conditioning import FINDING_STATES, RACES, SEXES, VIEWS

Layout = dict[str, tuple[str, ...]]
"""Attribute -> the values that patients are counted by, in order."""

Pair = tuple[str, str]
"""Two attributes that patients are counted by together, in the layout's order."""

SPLIT = ("training", "held_out")
YEARS_PER_GROUP = 10
AGES = (*(f"{first}-{first + 9}" for first in range(0, 90, YEARS_PER_GROUP)), "90+")
MANUFACTURERS = (
    *("agfa", "canon", "carestream", "fuji", "ge", "hologic", "konica", "philips", "samsung"),
    *("shimadzu", "siemens", "toshiba", "swissray", "rayence", "vieworks", "another"),
)
"""Makers of the machine by their number in a record, from 1 on."""

USABLE = "usable"
REASONS = (
    *("not_dicom", "unreadable", "outside_link", "wrong_kind", "not_human", "calibration", "not_chest"),
    *("lateral", "other_view", "mirrored", "raw", "secondary", "burned_in", "multi_frame", "colour"),
    *("too_large", "bad_geometry", "no_pixels", "no_decoder", "decode_failed", "too_slow", "reader_died"),
    *("blank", "low_contrast", "duplicate", "near_duplicate", "not_fetched", "synthetic"),
)  # fmt: skip
"""Why a file is not used, as far as that is said of files. What is said of patients, that they opted out or are
too young, is not counted: all those files may be one patient's."""
FILES = (USABLE, *REASONS)
TOTALS = ("patients", "files")
"""What stands in the table beside the attributes."""
PRESENCE = ("not_present", "present")
"""A finding in a table of two attributes."""
PRESENCE_OF = {state: PRESENCE[state in {"present", "uncertain"}] for state in FINDING_STATES}
"""State -> presence. Present is also what a report calls uncertain: somebody saw something, and no report calls
it "no finding". Not present is also what it does not mention: reports leave out most of what is not there."""


def layout(findings: tuple[str, ...]) -> Layout:
    """The attributes that patients are counted by.

    Raises:
        ValueError: two findings, or a finding and another attribute, have one name.
    """
    attributes = {
        "split": SPLIT,
        "view": VIEWS,
        "sex": SEXES,
        "age": AGES,
        "race": RACES,
        "manufacturer": MANUFACTURERS,
    }
    taken = (*attributes, *TOTALS)
    if len({*taken, *findings}) < len(taken) + len(findings):
        raise ValueError("findings must be different names, none of them another attribute's")
    return attributes | dict.fromkeys(findings, FINDING_STATES)


def pair_layout(findings: tuple[str, ...]) -> Layout:
    """The attributes that may stand in a table of two, findings by presence only."""
    return {
        name: PRESENCE if name in findings else values
        for name, values in layout(findings).items()
        if name != "split"
    }


def in_order(first: str, second: str, findings: tuple[str, ...]) -> Pair:
    """Two attributes in the layout's order, so that one pair has one table.

    Raises:
        ValueError: they are not two different attributes of `pair_layout`.
    """
    names = list(pair_layout(findings))
    if first == second or first not in names or second not in names:
        raise ValueError("a pair must be two different attributes of the study")
    return (first, second) if names.index(first) < names.index(second) else (second, first)


def check_pairs(pairs: Sequence[Pair], findings: tuple[str, ...]) -> None:
    """Refuse pairs that are not asked for in the one way that they can be.

    Raises:
        ValueError: a pair stands twice, is not in the layout's order, or names something else.
    """
    if len(set(pairs)) < len(pairs) or any(in_order(*pair, findings) != pair for pair in pairs):
        raise ValueError("every pair must stand once, its attributes in the layout's order")


def noise_scale(findings: tuple[str, ...], epsilon: float, max_pairs: int = 0) -> Fraction:
    """Scale of the noise on every count that makes all tables together epsilon-differentially private.

    With or without one patient, one count of each attribute differs by one, so does one of each table of two
    attributes, and so does the number of patients: that many is the L1 sensitivity. Tables of two count with
    the number that the hospital would ever give, whether they are asked for or not.
    """
    return (len(layout(findings)) + 1 + max_pairs) / Fraction(epsilon)
