"""What is known of generated pictures, as the table that `client/labels` reads under the name fedcxr."""

from collections.abc import Mapping, Sequence

from model.conditioning import Schema
from synthesis.generation.provenance import Provenance

KEY = "study_instance_uid"
_FACTS = ("age", "sex", "view", "race", "site", "manufacturer")
_CODES = {"present": "1", "absent": "0", "uncertain": "-1", "not_mentioned": ""}
_OPEN = "unknown"
"""Of a finding that was left open: nothing is known of it, which is not the same as absent."""


def titles(schema: Schema) -> Sequence[str]:
    """The table's first line."""
    return ("file", KEY, "seed", "number", *_FACTS, *schema.findings)


def label_row(file: str, study_uid: str, provenance: Provenance, schema: Schema) -> Sequence[str]:
    """One picture's line.

    Args:
        file: the picture's path inside the data set.
        study_uid: what identifies it, also in its DICOM header.
        provenance: how it came about.
        schema: the attributes that the model knows.
    """
    condition: Mapping[str, str] = provenance.condition
    return (
        *(file, study_uid, str(provenance.seed), str(provenance.number)),
        *(condition.get(name, "") for name in _FACTS),
        *(_CODES[condition[name]] if name in condition else _OPEN for name in schema.findings),
    )
