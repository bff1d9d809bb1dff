"""What the processes of one side log, once more as JSON lines: for a collector, and safe to hand on.

One file for all of them, `events.jsonl` beside the other logs. A line has keys from one list and no others. Its text
is a sentence of this program with values put in, and a value that could tell of a patient or of a place in the
archive is replaced by what kind of value it was. Of an exception there is its class and its line in the code.
"""

import fcntl
import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from federation.files import make_private_folder
from federation.terminal import OWN_PACKAGES

FILE_NAME = "events.jsonl"
MAX_BYTES = 16 * 2**20
"""Then the file is put aside as `events.jsonl.1`, in place of the one before."""
ALLOWED = ("time", "level", "logger", "event", "side", "site", "study", "round", "plan", "error")
"""Keys that a line may have, in their order."""
HIDDEN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("key", re.compile(r"-----BEGIN.*?(?:-----END[^-]*-----|$)", re.DOTALL)),
    ("address", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (
        "path",
        re.compile(r"(?<![\w:/])(?:~|\.{1,2})?/(?:[^\s/:'\"]+/)*[^\s:'\",]*|\b[A-Za-z]:\\\S*"),
    ),
    ("file", re.compile(r"\b[\w-]+\.(?:dcm|dicom|ima|csv|png|jpe?g)\b", re.IGNORECASE)),
    ("name", re.compile(r"\b\w+(?:\^+\w*)+")),
    ("uid", re.compile(r"\b\d+(?:\.\d+){4,}\b")),
    ("date", re.compile(r"\b(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d\b")),
    ("number", re.compile(r"\b[A-Z]{0,4}\d{6,}\b")),
)
"""What is never written, and what stands there instead."""


def log_events(folder: Path, **known: str) -> None:
    """Have this process add its lines to the folder's file; called again, only the last call counts.

    Args:
        folder: the side's log folder.
        known: what every line of this process says beside its own, by keys of `ALLOWED`.
    """
    path = make_private_folder(folder) / FILE_NAME
    for package in sorted(OWN_PACKAGES):
        logger = logging.getLogger(package)
        for old in [each for each in logger.handlers if isinstance(each, SharedFile)]:
            logger.removeHandler(old)
        handler = SharedFile(path)
        handler.setFormatter(JsonLine(known))
        logger.addHandler(handler)


class JsonLine(logging.Formatter):
    """A record as one line of JSON, each allowed key as far as it may be told."""

    def __init__(self, known: Mapping[str, str]) -> None:
        super().__init__()
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told = {
            **self._known,
            **vars(record),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _sentence(record),
            "error": _where(record),
        }
        kept = ((key, told.get(key)) for key in ALLOWED)
        return json.dumps({key: _plain(key, value) for key, value in kept if value or value == 0})


class SharedFile(logging.Handler):
    """Appends whole lines to a file that several processes share."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a full disk must not end what the line tells of."""
        try:
            line = self.format(record) + "\n"
            with self._path.with_suffix(".lock").open("ab") as lock:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
                self._put_aside()
                with self._path.open("ab") as file:
                    file.write(line.encode())
        except OSError:
            return

    def _put_aside(self) -> None:
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(".jsonl.1"))


def redacted(text: str) -> str:
    """A text without anything that looks like a patient's, a path's or a secret's."""
    for kind, pattern in HIDDEN:
        text = pattern.sub(f"[{kind}]", text)
    return text


def _plain(key: str, value: object) -> object:
    if isinstance(value, int | float) or key in {"time", "event", "level", "logger", "error"}:
        return value
    return redacted(str(value))


def _sentence(record: logging.LogRecord) -> str:
    """The sentence that stands in the code, with values that may be told put in."""
    values: object = record.args
    if isinstance(values, tuple):
        values = tuple(_told(value) for value in values)
    elif isinstance(values, dict):
        values = {name: _told(value) for name, value in values.items()}
    try:
        return str(record.msg) % values if values else str(record.msg)
    except (TypeError, ValueError):
        return str(record.msg)


def _told(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if isinstance(value, BaseException) and not _is_ours(value):
        return type(value).__name__
    return redacted(str(value))


def _is_ours(err: BaseException) -> bool:
    """Whether this project wrote the text of an exception."""
    return type(err).__module__.partition(".")[0] in OWN_PACKAGES


def _where(record: logging.LogRecord) -> str:
    """Class of the exception that a line tells of, and the last line of our code that it passed."""
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    place, trace = "", record.exc_info[2]
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in OWN_PACKAGES:
            place = f" in {module} line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"{record.exc_info[0].__name__}{place}"
