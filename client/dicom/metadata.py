"""Header -> the few fields a study may ask for. Every other field of the header is dropped here.

Findings come from the hospital's labels and the site number from its configuration: a header never fills
them. Race is read only if the hospital says what its words for ethnic groups mean.
"""

import re
from collections.abc import Mapping
from datetime import date

from pydicom import Dataset

from client.dicom.header import as_words, identifier, words
from client.dicom.orientation import orientation_of
from client.dicom.view import view_of
from model.conditioning import Metadata

OLDEST_AGE = 90.0
"""Older patients are all this old: so few are that an exact age would single them out."""

_LARGEST_BELIEVABLE_AGE = 120
_AGE = re.compile(r"0*(\d{1,3})\s*([DWMY]?)")
_YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}

# The numbers are part of every trained model: append, never renumber. A name is recognised by the first
# fragment that starts one of its words; 16 is every other manufacturer.
_MANUFACTURERS: Mapping[str, int] = {
    "AGFA": 1,
    "CANON": 2,
    "CARESTREAM": 3,
    "KODAK": 3,
    "EASTMAN": 3,
    "FUJI": 4,
    "GE": 5,
    "GEMS": 5,
    "GENERAL ELECTRIC": 5,
    "HOLOGIC": 6,
    "LORAD": 6,
    "KONICA": 7,
    "MINOLTA": 7,
    "PHILIPS": 8,
    "SAMSUNG": 9,
    "SHIMADZU": 10,
    "SIEMENS": 11,
    "TOSHIBA": 12,
    "SWISSRAY": 13,
    "RAYENCE": 14,
    "VIEWORKS": 15,
}
_ANOTHER_MANUFACTURER = 16
_WHOLE_WORD_ONLY = {"GE", "GEMS"}


def metadata_of(header: Dataset, ethnic_groups: Mapping[str, str]) -> Metadata:
    """Keep age, sex, view, manufacturer and perhaps race; None for what is missing or unbelievable.

    Args:
        header: of the file.
        ethnic_groups: the hospital's words for an ethnic group, in capitals -> race.
    """
    return Metadata(
        age=age_in_years(header),
        sex=_SEXES.get(words(header, "PatientSex")),
        view=view_of(header, orientation_of(header)),
        race=_race(header, ethnic_groups),
        site=None,
        manufacturer=manufacturer_number(words(header, "Manufacturer")),
        findings={},
    )


def _race(header: Dataset, ethnic_groups: Mapping[str, str]) -> str | None:
    known = {as_words(group): race for group, race in ethnic_groups.items()}
    return known.get(words(header, "EthnicGroup"))


def age_in_years(header: Dataset) -> float | None:
    """Age from PatientAge, else from the dates, in [0, 90]; None if unknown or beyond belief."""
    age = _stated_age(header)
    if age is None:
        age = _age_from_dates(header)
    if age is None or not 0 <= age <= _LARGEST_BELIEVABLE_AGE:
        return None
    return OLDEST_AGE if age > OLDEST_AGE - 1 else age


def _stated_age(header: Dataset) -> float | None:
    """PatientAge such as `063Y` or `018M`; bare digits, which many archives write, are years."""
    stated = _AGE.fullmatch(identifier(header, "PatientAge").upper())
    return int(stated[1]) * _YEARS_PER_UNIT[stated[2]] if stated else None


def _age_from_dates(header: Dataset) -> float | None:
    birth = _date(header, "PatientBirthDate")
    taken = _date(header, "AcquisitionDate") or _date(header, "StudyDate")
    if birth is None or taken is None:
        return None
    return float(taken.year - birth.year - ((taken.month, taken.day) < (birth.month, birth.day)))


def _date(header: Dataset, keyword: str) -> date | None:
    """A date such as `19560228`, or `1956.02.28` from the days before DICOM."""
    digits = re.sub(r"\D", "", identifier(header, keyword))
    try:
        return date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:8] or 1))
    except ValueError:
        return None


def manufacturer_number(name: str) -> int | None:
    """Number of a maker from its name in upper-case words: 1 to 15, 16 for another, None for none."""
    if not name:
        return None
    for fragment, number in _MANUFACTURERS.items():
        end = r"\b" if fragment in _WHOLE_WORD_ONLY else ""
        if re.search(rf"\b{fragment}{end}", name):
            return number
    return _ANOTHER_MANUFACTURER
