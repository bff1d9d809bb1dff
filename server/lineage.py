"""The lineage of a study's models, from its record, and the study authority's signature to it."""

import time
from importlib.metadata import version
from pathlib import Path

from federation.lineage import (
    LINEAGE_NAME,
    Lineage,
    LineageRound,
    SignedLineage,
    other_files,
    signed_bytes,
    write_lineage,
)
from model.manifest import read_manifest
from server.enrolment.authority import study_authority
from server.plans.issuing import issued_plan
from server.store import StudyStore


def vouch_for(store: StudyStore, folder: Path) -> None:
    """Sign a whole model's folder, unless that was done.

    Raises:
        SigningKeyUnusable: the authority's key is damaged.
    """
    if (folder / LINEAGE_NAME).exists():
        return
    lineage, authority = lineage_of(store, folder), study_authority(store.folder.parent.parent)
    signature = authority.sign(signed_bytes(lineage)).hex()
    public = authority.public.decode()
    write_lineage(folder, SignedLineage(lineage=lineage, signature=signature, authority=public))


def lineage_of(store: StudyStore, folder: Path) -> Lineage:
    """What the record says of the model in a folder."""
    manifest, plan = read_manifest(folder), issued_plan(store)
    return Lineage(
        study_name=manifest.study_name,
        study_digest=manifest.study_digest,
        plan_digest=plan.digest if plan else "",
        kind=manifest.kind,
        rounds=_rounds(store, manifest.rounds),
        weights_digest=manifest.weights_digest,
        parent_digest=manifest.parent_digest or "",
        files=other_files(folder),
        release=version("fedcxr"),
        seconds=int(time.time()),
    )


def _rounds(store: StudyStore, last: int) -> tuple[LineageRound, ...]:
    admitted: dict[int, list[str]] = {}
    for part in store.parts():
        if part.state == "admitted":
            admitted.setdefault(part.number, []).append(part.site)
    return tuple(
        LineageRound(
            number=each.number,
            digest=each.digest,
            sites=tuple(sorted(admitted.get(each.number, ()))),
        )
        for each in store.rounds()
        if each.number <= last
    )
