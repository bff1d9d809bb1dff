"""Flower entry point of the coordinator."""

import os
import time
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation.logs import configure_logging
from federation.processes import die_with_parent
from server.aggregation import QuorumNotMet
from server.export import export_models
from server.hospitals import Hospitals
from server.rounds import Diverged, run_study
from server.start import starting_weights
from server.store import DamagedRound, StudyStore, find_study

STATE_VARIABLE = "FEDCXR_COORDINATOR_STATE"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run names, from its last committed round to its end."""
    die_with_parent()
    configure_logging()
    conduct(find_study(Path(os.environ[STATE_VARIABLE]), str(context.run_config["study"])), grid)


def conduct(store: StudyStore, grid: Grid) -> None:
    """Run a study over Flower's grid; the store remembers how it ended."""
    with store.lock():
        store.set_fact("stopped", "")
        hospitals = Hospitals(grid=grid, rules=store.study.rounds)
        try:
            state = run_study(store, hospitals.ask, starting_weights)
            export_models(store, state)
        except (QuorumNotMet, Diverged, DamagedRound) as err:
            store.set_fact("stopped", str(err))
            return
        store.set_fact("finished", str(time.time()))
