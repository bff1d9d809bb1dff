"""The words that public sets use for age, sex, view and race -> those of the model, or None."""

import re

_OLDEST = 120.0
"""Years; early releases of NIH ChestX-ray14 hold ages up to 414."""
_AGE = re.compile(r"(\d{1,3})\s*([DWMY]?)")
_YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
_VIEWS = {
    **dict.fromkeys(("PA", "POSTERO ANTERIOR", "POSTEROANTERIOR"), "PA"),
    **dict.fromkeys(("AP", "ANTERO POSTERIOR", "ANTEROPOSTERIOR", "AP HORIZONTAL"), "AP"),
    **dict.fromkeys(("AP AXIAL", "AP SUPINE", "SUPINE"), "AP"),
    **dict.fromkeys(("L", "LL", "RL", "LAT", "LATERAL"), "LATERAL"),
    **dict.fromkeys(
        ("LLD", "RLD", "AP LLD", "AP RLD", "LT DECUB", "RT DECUB", "DECUBITUS"), "OTHER"
    ),
    **dict.fromkeys(("LAO", "RAO", "LPO", "RPO", "LLO", "RLO", "OBLIQUE"), "OTHER"),
    **dict.fromkeys(("COSTAL", "LORDOTIC", "XTABLE LATERAL", "SWIMMERS", "OTHER"), "OTHER"),
}
_RACES = (
    ("asian", r"\bASIAN\b"),
    ("black", r"\b(BLACK|AFRICAN)\b"),
    ("white", r"\b(WHITE|CAUCASIAN)\b"),
    ("other", r"\b(OTHER|NATIVE|PACIFIC|INDIAN|MULTIRACIAL|TWO OR MORE)\b"),
)


def age_of(text: str) -> float | None:
    """Years from `63`, `63.0`, `063Y` or `018M`; None if there is no number or nobody is that old."""
    stated = _AGE.fullmatch(text.strip().upper().removesuffix(".0"))
    if not stated:
        return None
    return believable(int(stated[1]) * _YEARS_PER_UNIT[stated[2]])


def adult_age_of(text: str) -> float | None:
    """The same for sets of adults, in which an age of 0 stands for a gap."""
    return age_of(text) or None


def believable(age: float) -> float | None:
    """The age, if a person can have it."""
    return age if 0.0 <= age <= _OLDEST else None


def sex_of(text: str) -> str | None:
    """`F` or `M`; None for every other word."""
    return _SEXES.get(text.strip().upper())


def view_of(text: str) -> str | None:
    """`PA`, `AP`, `LATERAL` or `OTHER`; None where the word is missing or tells no view."""
    return _VIEWS.get(_plain(text))


def race_of(text: str) -> str | None:
    """`asian`, `black`, `white` or `other`; None if unknown, refused, or an ethnicity but no race."""
    plain = _plain(text)
    return next((race for race, pattern in _RACES if re.search(pattern, plain)), None)


def _plain(text: str) -> str:
    """Capitals with single blanks between words."""
    return re.sub(r"[^A-Z0-9]+", " ", text.upper()).strip()
