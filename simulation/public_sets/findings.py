"""The findings of a public set's own label tables, joined to its radiographs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.labels.mapping import RowKey
from client.labels.presets import load_mapping
from client.labels.table import Labels, read_labels
from model.conditioning import FINDINGS
from simulation.public_sets.record import PublicRecord, PublicSet


@dataclass(frozen=True, kw_only=True, slots=True)
class SetFindings:
    """What the label tables of one set say."""

    key: RowKey
    """How the tables name their rows."""
    tables: Sequence[Labels] = field(repr=False)

    def join(self, record: PublicRecord) -> PublicRecord:
        """The record with its findings; without any, if no table names it."""
        identifier = self.key.identifier(record.label_key)
        found = (table.of(identifier) for table in self.tables)
        return replace(record, findings=next((states for states in found if states), {}))

    @property
    def problems(self) -> Mapping[str, int]:
        """What was odd in all tables, and how often."""
        counts = Counter[str]()
        for table in self.tables:
            counts.update({problem.value: count for problem, count in table.problems.items()})
        return dict(counts)


def read_findings(public_set: PublicSet, source: Path) -> SetFindings:
    """Read the label tables of a set by the mapping that comes with the program.

    Raises:
        WrongFolder: the source is not this set.
        LabelsUnusable: a table is damaged.
    """
    mapping = load_mapping(public_set.name, source)
    tables = [read_labels(path, mapping, FINDINGS) for path in public_set.label_tables(source)]
    return SetFindings(key=mapping.key, tables=tables)
