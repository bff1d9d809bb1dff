"""Flower entry point of the coordinator."""

import logging.handlers
import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation.bells import Bells, bells_of
from federation.event_log import log_events
from federation.files import make_private_folder
from federation.logs import configure_logging
from federation.processes import MAX_LOG_BYTES, die_with_parent
from server.aggregation.shares import QuorumNotMet
from server.census import ask_for_counts
from server.countersign import Countersign, witness_key
from server.drawing import start_apart
from server.environment import STATE_VARIABLE
from server.evidence.witnesses import witnesses_of
from server.export import export_models
from server.hospitals import Hospitals
from server.mailbox import Mailbox
from server.next_round import Diverged
from server.plans.issuing import signed_plan
from server.room import NoRoom
from server.rounds import run_study
from server.signers import signers_of
from server.statistics import TASK, read_question, statistics_folder, write_answers
from server.store import DamagedRound, StudyStore, find_study
from server.supplies import ALL_INSIDE, Supplies, supplies_of

app = ServerApp()
logger = logging.getLogger(__name__)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run names, from its last committed round to its end, or ask for its counts."""
    die_with_parent()
    configure_logging()
    state, digest = Path(os.environ[STATE_VARIABLE]), str(context.run_config["study"])
    log_to(state / "logs" / "study.log")
    log_events(state / "logs", side="coordinator", study=digest[:12])
    try:
        if context.run_config["task"] == TASK:
            take_census(statistics_folder(state, digest), grid, bells_of(state))
        else:
            store = find_study(state, digest)
            conduct(store, grid, witness_key(state), supplies_of(state))
    except Exception:
        logger.exception("the run ends with a defect")
        raise


def log_to(path: Path) -> None:
    """Write what this process says to a file too: Flower keeps it in its database only."""
    make_private_folder(path.parent)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("server", "model", "federation"):
        logging.getLogger(name).addHandler(handler)


def conduct(
    store: StudyStore, grid: Grid, key: Ed25519PrivateKey, supplies: Supplies = ALL_INSIDE
) -> None:
    """Run a study over Flower's grid; the store remembers how it ended."""
    with store.lock():
        store.set_fact("began", str(time.time()))
        store.set_fact("stopped_for", "")
        store.set_fact("stopped", "")
        hospitals = Hospitals(
            grid=grid,
            study=store.study,
            number_site=store.number_site,
            countersign=Countersign(store=store, key=key),
            blobs=supplies.blobs,
            max_scratch=supplies.max_scratch,
            bells=supplies.bells,
            plan=signed_plan(store),
            signer=signers_of(store.folder.parent.parent),
            witnesses=witnesses_of(store.folder.parent.parent),
        )
        try:
            state = run_study(store, hospitals, start_apart)
            export_models(store, state)
        except (QuorumNotMet, Diverged, DamagedRound) as err:
            store.set_fact("stopped", str(err))
        except NoRoom as err:
            hospitals.forget(len(store.rounds()) + 1)
            stop_for_room(store, err)
        else:
            store.set_fact("finished", str(time.time()))


def stop_for_room(store: StudyStore, err: NoRoom) -> None:
    """Give back the room of what is not committed, so that there is some to say why the study waits."""
    store.abandon_round()
    store.set_fact("room_needed", str(err.needed_bytes))
    store.set_fact("stopped_for", "room")
    store.set_fact("stopped", str(err))


def take_census(folder: Path, grid: Grid, bells: Bells | None = None) -> None:
    """Ask every hospital the question in a folder, and put the answers beside it."""
    question = read_question(folder)
    answers = ask_for_counts(
        Mailbox(grid=grid, kind="query.counts", bells=bells),
        question.request,
        sites=frozenset(question.sites),
        wait_seconds=question.wait_seconds,
    )
    write_answers(folder, question, answers)
