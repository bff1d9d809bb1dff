"""How the coordinator's folder, disk and studies stand."""

import json
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.plan import SignedPlan, parse_plan
from server.doctor.coordinator import Coordinator
from server.enrolment.authority import FOLDER, KEY_NAME
from server.plans.issuing import PLAN
from server.room import SPARE_BYTES, free_bytes
from server.state_folder import StateFolderUnusable, open_state_folder
from server.status import study_status
from server.store import StudyStore
from server.survey import survey

MIN_FILES = 1024
LARGE_ROUND = 12
"""Files of a round's weights that lie on the disk at a time, about, with those of the round before."""


def state_folder(coordinator: Coordinator) -> Finding:
    """Does the folder belong to this process, and take what is written?"""
    if not coordinator.state.is_dir():
        return fail(
            f"there is no folder {coordinator.state}",
            Job.COORDINATOR,
            "type: fedcxr coordinator init --host NAME; or name the folder with --state",
        )
    try:
        open_state_folder(coordinator.state)
    except StateFolderUnusable as err:
        return fail(str(err), Job.MACHINE, "do that, then type the same again")
    if coordinator.state.stat().st_mode & 0o077:
        return warn(
            f"{coordinator.state} can be entered by other users of this machine",
            Job.MACHINE,
            f"type: chmod 700 {coordinator.state}",
        )
    return ok("the state folder belongs to this user alone and can be written to")


def disk(coordinator: Coordinator) -> Finding:
    """Is there room for the rounds of every study?"""
    if not coordinator.state.is_dir():
        return skipped("there is no state folder yet")
    free = free_bytes(coordinator.state)
    sizes, _ = survey(coordinator.state, _round_bytes)
    needed = SPARE_BYTES + sum(sizes)
    shown = f"{free / 1e9:.1f} GB are free, rounds take about {needed / 1e9:.1f} GB"
    if free < needed:
        return fail(shown, Job.MACHINE, f"free some; see: df -h {coordinator.state}")
    if free < 2 * needed:
        return warn(shown, Job.MACHINE, f"free some soon; see: df -h {coordinator.state}")
    return ok(shown)


def databases(coordinator: Coordinator) -> Finding:
    """Is every database whole?"""
    found = sorted(_databases(coordinator.state))
    broken = [path for path in found if not _is_whole(path)]
    if broken:
        return fail(
            f"{broken[0]} is damaged",
            Job.COORDINATOR,
            "stop the coordinator, and restore the folder: fedcxr coordinator restore",
        )
    return (
        ok(f"{len(found)} database(s) are whole") if found else skipped("there is no database yet")
    )


def studies(coordinator: Coordinator) -> Finding:
    """Can every study be read, and does none wait for a person?"""
    states, damaged = survey(coordinator.state, study_status)
    if damaged:
        return fail(str(damaged[0]), Job.COORDINATOR, "do that, then type the same again")
    stopped = [each for each in states if each.state == "stopped"]
    if stopped:
        return fail(
            f"{stopped[0].name} has stopped: {stopped[0].reason}",
            Job.COORDINATOR,
            "mend that, then type: fedcxr coordinator run",
        )
    if not states:
        return skipped("there is no study yet")
    told = ", ".join(
        f"{each.name} {each.state} ({each.committed}/{each.num_rounds})" for each in states
    )
    return ok(told)


def weights(coordinator: Coordinator) -> Finding:
    """Are the weights of every study's last round there?"""
    seen, _ = survey(coordinator.state, lambda store: (store.study.name, _last_is_missing(store)))
    missing = [name for name, is_missing in seen if is_missing]
    if missing:
        return fail(
            f"the weights of the last round of {missing[0]} are gone from the disk",
            Job.COORDINATOR,
            "stop the coordinator, and restore the folder: fedcxr coordinator restore",
        )
    return ok("the weights of every last round are there") if seen else skipped("no study yet")


def plans(coordinator: Coordinator) -> Finding:
    """Is every study's plan signed by this coordinator, and in force?"""
    seen, _ = survey(coordinator.state, lambda store: (store, _waits_with_plan(store)))
    stores = [store for store, waits in seen if waits]
    if not stores:
        return skipped("no study with a plan waits to run")
    public_path = (coordinator.state / FOLDER / KEY_NAME).with_suffix(".pub")
    today = datetime.now(UTC).date()
    for store in stores:
        kept = json.loads((store.folder / PLAN).read_text())
        signed = SignedPlan(text=kept["plan"], signature=bytes.fromhex(kept["signature"]))
        do = f"type: fedcxr coordinator plan {store.study.name} --state {coordinator.state}"
        if not public_path.is_file() or not signed.is_signed_by(public_path.read_bytes()):
            return fail(
                f"the plan of {store.study.name} is signed with another key", Job.COORDINATOR, do
            )
        if parse_plan(signed.text).ends < today:
            return fail(
                f"the plan of {store.study.name} has ended: hospitals refuse every round of it",
                Job.COORDINATOR,
                f"{do} --help, and issue one that ends later",
            )
    return ok(f"{len(stores)} plan(s) are signed and in force")


def open_files(coordinator: Coordinator) -> Finding:
    """May this user hold as many connections as hospitals make?"""
    del coordinator
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < MIN_FILES:
        return warn(
            f"a process may open {soft} files and connections",
            Job.MACHINE,
            f"raise the limit to {MIN_FILES} or more: ulimit -n {MIN_FILES}, or LimitNOFILE= of the service",
        )
    return ok(f"a process may open {soft} files and connections")


def _round_bytes(store: StudyStore) -> int:
    """What lies on the disk of the last round, several times over; nothing is known before the first."""
    if store.fact("finished"):
        return 0
    folders = sorted((store.folder / "rounds").glob("*"))
    sizes = [sum(f.stat().st_size for f in each.glob("*") if f.is_file()) for each in folders]
    return LARGE_ROUND * max(sizes, default=0)


def _waits_with_plan(store: StudyStore) -> bool:
    return not store.fact("finished") and (store.folder / PLAN).exists()


def _last_is_missing(store: StudyStore) -> bool:
    rounds = store.rounds()
    return bool(rounds) and not any(store.round_path(rounds[-1].number).glob("*"))


def _databases(state: Path) -> Iterator[Path]:
    for pattern in ("*.db", "studies/*/study.db", "superlink/*.db", "flower/*.db"):
        yield from state.glob(pattern)


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
