"""A hospital's `labels.csv`, one row per study, as the hospital's reader of labels takes it."""

import csv
from pathlib import Path
from types import TracebackType
from typing import Self

from model.conditioning import FINDINGS
from simulation.public_sets.record import PublicRecord
from simulation.public_sets.writing import study_uid

STUDY_COLUMN = "study_instance_uid"
CODES = {"present": "1", "absent": "0", "uncertain": "-1", "not_mentioned": ""}
UNKNOWN = "unknown"
"""A cell of a finding that the set has no word for: nobody asked, so silence means nothing."""


class LabelFile:
    """Writes the file beside its place, and puts it there when all is written."""

    def __init__(self, path: Path, set_name: str) -> None:
        self._path, self._set_name = path, set_name
        self._draft = path.with_suffix(".part")
        self._studies: set[str] = set()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._draft.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([STUDY_COLUMN, *FINDINGS])
        return self

    def add(self, record: PublicRecord) -> None:
        """Add the study of a radiograph, unless another of its radiographs has added it."""
        uid = study_uid(self._set_name, record)
        if uid in self._studies:
            return
        self._studies.add(uid)
        states = (record.findings.get(name) for name in FINDINGS)
        self._writer.writerow([uid, *(CODES[s] if s is not None else UNKNOWN for s in states)])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if error is None:
            self._draft.replace(self._path)
