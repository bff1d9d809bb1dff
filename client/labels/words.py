"""When two words of two tables are the same word."""

import re

_PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff")


def plain(words: str) -> str:
    """`Pleural Effusion`, `pleural_effusion` and `PLEURAL  EFFUSION ` are the same word."""
    return re.sub(r"[\W_]+", "_", words.casefold()).strip("_")


def plain_code(value: str) -> str:
    """`1.0`, as spreadsheets and data frames write it, is `1`."""
    return value.strip().casefold().removesuffix(".0")


def file_name(path: str, folders: int = 0) -> str:
    """Name of a picture without its ending, with as many of the folders above it as asked for.

    Only the endings of pictures are taken off: in `1.2.840.5` the last number is part of the name.
    """
    name = "/".join(re.split(r"[\\/]+", path.strip())[-folders - 1 :])
    ending = next((end for end in _PICTURE_ENDINGS if name.casefold().endswith(end)), "")
    return name[: len(name) - len(ending)]
