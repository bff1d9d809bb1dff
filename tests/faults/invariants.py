"""What has to hold after every fault (I1 to I8): checked from what lies on the disks and what was seen from outside."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from federation.config import StudyConfig, study_digest
from federation.files import DRAFT_SUFFIX, is_locked
from model.manifest import read_manifest
from privacy.ledger.verification import problems_of, read_statement
from server.export import model_path
from server.status import study_status
from server.store import StudyStore
from tests.faults.kills import NAMES, History, Mortal

END_SECONDS = 10.0
"""For guards, who end after those whom they guard."""


def check_invariants(
    federation: Mortal, store: StudyStore, history: History, undisturbed: Mapping[int, str]
) -> None:
    """Everything that a study that ran through kills owes.

    Args:
        federation: Still up.
        store: Of the study.
        history: As it was seen while it ran.
        undisturbed: Digest of each round of the same study without kills.
    """
    rounds = store.rounds()
    numbers = list(range(1, store.study.num_rounds + 1))
    assert history.num_lost == 0, "I1: a committed round was lost"
    assert [record.number for record in rounds] == numbers, "I1"
    _check_parts(federation, store)
    assert {r.number: r.digest for r in rounds} == dict(undisturbed), "I3: other bits"
    _check_ledgers(federation, store, history)
    status = study_status(store)
    assert status.state == "finished", f"I6: the study is {status.state}: {status.reason}"
    leftovers = sorted(map(str, leftovers_of(federation, store)))
    assert not leftovers, f"I7: {leftovers}"
    assert not is_locked(store.folder / "lock"), "I7: the study is locked"


def _check_parts(federation: Mortal, store: StudyStore) -> None:
    """Every update counted once, every contributor named, nobody trained twice."""
    counted = Counter((part.number, part.site) for part in store.parts())
    admitted = {(part.number, part.site) for part in store.parts() if part.state == "admitted"}
    expected = {(n, site) for n in range(1, store.study.num_rounds + 1) for site in NAMES}
    assert admitted == expected, "I2: an accepted update does not count"
    assert set(counted.values()) == {1}, "I2: an update is there twice"
    assert all(record.num_sites == len(NAMES) for record in store.rounds()), "I8"
    manifest = read_manifest(model_path(store))
    assert manifest.sites == NAMES, "I8: the model names other contributors"
    kept: set[tuple[int, str]] = set()
    for line in trainings_of(federation, store.study):
        which = (line["round"], line["site"])
        assert which not in kept, f"{which} was finished and is trained again"
        if line["word"] == "kept":
            kept.add(which)
    assert kept == expected, "I8: a contributor did not train"


def trainings_of(federation: Mortal, study: StudyConfig) -> Iterator[dict[str, Any]]:
    """Every training of a study, in order; a line that a kill cut short says nothing."""
    for line in federation.trainings_path.read_text().splitlines():
        note = json.loads(line)
        if note["study"] == study_digest(study):
            yield note


def _check_ledgers(federation: Mortal, store: StudyStore, history: History) -> None:
    """Ledgers only grow, hold each private round once, settled, and verify to the last byte."""
    num_private = sum(
        stage.num_rounds for stage in store.study.stages if stage.local.privacy is not None
    )
    for name in NAMES:
        looks = history.heads[name]
        assert looks == sorted(looks), f"I4: the ledger of {name} shrank"
        path = federation.layout.hospital(name) / "privacy.ledger"
        if not path.exists():
            assert num_private == 0, f"I4: {name} has no ledger"
            continue
        assert problems_of(path, data_set=name, delta=1e-3) == (), f"I5: ledger of {name}"
        book = read_statement(path).book
        assert book is not None
        prefix = study_digest(store.study)
        charges = [
            c for key, c in book.charges.items() if c.study_digest == prefix or prefix in key
        ]
        assert len(charges) == num_private, f"I4: {len(charges)} charges of {name}"
        assert all(charge.released for charge in charges), "I4: a round is not settled"
        assert book.spent <= book.cap, "I4: above the cap"


def leftovers_of(federation: Mortal, store: StudyStore) -> Iterator[Path]:
    """Files that should be gone once a study is finished: scratch, halves, drafts, boxes, offers."""
    layout = federation.layout
    yield from (store.folder / "scratch").iterdir()
    last = store.study.num_rounds
    wanted = {store.round_path(number) for number in (last - 1, last)}
    yield from set((store.folder / "rounds").iterdir()) - wanted
    yield from store.folder.glob("stage-*")
    for name in ("boxes", "published", "brought"):
        folder = layout.coordinator / "blobs" / name
        yield from folder.iterdir() if folder.is_dir() else ()
    states = [layout.hospital(name) / "state" for name in NAMES]
    for name in NAMES:
        mine = layout.hospital(name) / "state" / "studies" / study_digest(store.study)[:12]
        yield from mine.glob("round-*.*")
        yield from mine.glob("job")
    for state in (layout.coordinator, *states):
        yield from _halves(state)


def _halves(state: Path) -> Iterator[Path]:
    """Files that a writer who was killed did not finish; Flower's own folder apart.

    The gateway lives and writes what it counted every two seconds: a draft that somebody holds, or that is gone by now,
    is no killed writer's.
    """
    for path in state.rglob("*"):
        parts = path.relative_to(state).parts
        is_half = path.suffix in {".part", ".partial", ".old", ".tmp"} or path.name.startswith(".")
        is_alive = path.suffix == DRAFT_SUFFIX and (is_locked(path) or not path.exists())
        if is_half and parts[0] != "flower" and not is_alive:
            yield path


def check_nothing_remains(federation: Mortal) -> None:
    """What a federation owes once it was taken down (I7)."""
    layout, deadline = federation.layout, time.monotonic() + END_SECONDS
    while federation.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert federation.processes() == set(), "I7: a process is left"
    assert not (layout.coordinator / "endpoint.json").exists(), "I7: the announcement is left"
    for path in layout.out.rglob("*lock"):
        assert not is_locked(path), f"I7: {path.name} is held"
