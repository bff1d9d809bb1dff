"""What a hospital may be asked to count before a study: these attributes and values, and nothing else.

Both sides know the table's layout, so that an answer carries numbers only: no name, no word, no free text.
"""

from fractions import Fraction

from model.conditioning import FINDING_STATES, RACES, SEXES, VIEWS

Layout = dict[str, tuple[str, ...]]
"""Attribute -> the values that patients are counted by, in order."""

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
    *("blank", "low_contrast", "duplicate", "near_duplicate", "not_fetched"),
)  # fmt: skip
"""Why a file is not used, as far as that is said of files. What is said of patients, that they opted out or are
too young, is not counted: all those files may be one patient's."""
FILES = (USABLE, *REASONS)
TOTALS = ("patients", "files")
"""What stands in the table beside the attributes."""


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


def noise_scale(findings: tuple[str, ...], epsilon: float) -> Fraction:
    """Scale of the noise on every count that makes the whole table epsilon-differentially private.

    With or without one patient, one count of each attribute differs by one, and so does the number of patients:
    that many is the table's L1 sensitivity.
    """
    return (len(layout(findings)) + 1) / Fraction(epsilon)
