"""Flower entry point of the coordinator."""

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation.logs import configure_logging
from federation.processes import die_with_parent
from server.aggregation import QuorumNotMet
from server.census import ask_for_counts
from server.countersign import Countersign, witness_key
from server.export import export_models
from server.hospitals import Hospitals
from server.mailbox import Mailbox
from server.rounds import Diverged, run_study
from server.start import starting_weights
from server.statistics import TASK, read_question, statistics_folder, write_answers
from server.store import DamagedRound, StudyStore, find_study

STATE_VARIABLE = "FEDCXR_COORDINATOR_STATE"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run names, from its last committed round to its end, or ask for its counts."""
    die_with_parent()
    configure_logging()
    state, digest = Path(os.environ[STATE_VARIABLE]), str(context.run_config["study"])
    if context.run_config["task"] == TASK:
        take_census(statistics_folder(state, digest), grid)
    else:
        conduct(find_study(state, digest), grid, witness_key(state))


def conduct(store: StudyStore, grid: Grid, key: Ed25519PrivateKey) -> None:
    """Run a study over Flower's grid; the store remembers how it ended."""
    with store.lock():
        store.set_fact("stopped", "")
        hospitals = Hospitals(
            grid=grid,
            rules=store.study.rounds,
            number_site=store.number_site,
            countersign=Countersign(store=store, key=key),
        )
        try:
            state = run_study(store, hospitals.ask, starting_weights)
            export_models(store, state)
        except (QuorumNotMet, Diverged, DamagedRound) as err:
            store.set_fact("stopped", str(err))
            return
        store.set_fact("finished", str(time.time()))


def take_census(folder: Path, grid: Grid) -> None:
    """Ask every hospital the question in a folder, and put the answers beside it."""
    question = read_question(folder)
    answers = ask_for_counts(
        Mailbox(grid=grid, kind="query.counts"),
        question.request,
        sites=frozenset(question.sites),
        wait_seconds=question.wait_seconds,
    )
    write_answers(folder, question, answers)
