"""Patients who objected: their radiographs are not used, and leave the cache if they are in it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from client.cache.journal import RECORD, REPORT, Entry, Journal
from client.dicom.rejection import Reason
from client.intake.opaque import Keys, report_facts, table_of

_KEY_BYTES = 8


class OptOutUnusable(ValueError):
    """The list of patients who objected cannot be read; without it nothing may be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The list of patients who opted out, {path}, cannot be used: {reason}. The data manager writes "
            "a text file with a patient id a line, or takes it out of the configuration."
        )


def read_opt_outs(path: Path | None, keys: Keys) -> frozenset[int]:
    """Opaque keys of the patients listed, a patient id a line; what follows a `#` is a comment.

    Raises:
        OptOutUnusable: the file is missing or not text.
    """
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise OptOutUnusable(path, "it is not UTF-8 text") from None
    except OSError:
        raise OptOutUnusable(path, "it cannot be read") from None
    return frozenset(keys.link("patient", line.partition("#")[0]) for line in lines) - {0}


def apply_opt_outs(journal: Journal, opted_out: frozenset[int]) -> None:
    """Strip what was read of patients who object by now, and forget objections that were taken back."""
    journal.keep([*_now_objecting(journal, opted_out)])
    withdrawn = [
        entry.key
        for entry in journal.entries(Reason.OPTED_OUT.value)
        if int.from_bytes(entry.payload, "big") not in opted_out
    ]
    journal.forget(withdrawn)


def stripped(entry: Entry, patient: int) -> Entry:
    """An entry that says no more than that its patient objects."""
    payload = patient.to_bytes(_KEY_BYTES, "big")
    return replace(entry, outcome=Reason.OPTED_OUT.value, payload=payload, place=None)


def _now_objecting(journal: Journal, opted_out: frozenset[int]) -> Iterator[Entry]:
    if not opted_out:
        return
    for entry in journal.entries(RECORD):
        patient = int(table_of([entry.payload])["patient_id"][0])
        if patient in opted_out:
            yield stripped(entry, patient)
    for entry in journal.entries(REPORT):
        patient = report_facts(entry.payload).patient_id
        if patient in opted_out:
            yield stripped(entry, patient)
