"""A hospital's answer without training: a change that follows from who was asked, for what, and how often before.

What is everywhere around training stays: weights are received, the optimizer's state goes on from round to round, a
private round is reserved in the ledger, the finished round is kept. Every training is noted in a file that no kill
touches, with the word that it began and the word that its outcome is kept.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.killing.strikes import strike_at

TRAININGS_VARIABLE = "FEDCXR_TEST_TRAININGS"
NUM_PATIENTS = 24
ROUNDS_BEFORE = "rounds"


def train(rounds: ModuleType, site: Any, task: Any, kept: Any, private: Any = None) -> Any:  # noqa: ANN401
    """What `client.rounds.train` does, but for the gradients."""
    import numpy as np

    from client.training import LocalResult

    start = rounds.start_of(site, task, kept)
    head = None if private is None else private.reserve(NUM_PATIENTS)
    before = rounds.earlier_optimizer_state(task, kept)
    num_before = int(before[ROUNDS_BEFORE][0]) if before else 0
    note(site, task, "begins")
    shapes = {name: start.weights.shapes[name] for name in sorted(start.trained)}
    received = task.instruction.weights.digest
    change = change_of(f"{site.site_name}|{task.number}|{received}|{num_before}", shapes)
    strike_at("training")
    result = LocalResult(
        change=change,
        optimizer_state={ROUNDS_BEFORE: np.array([num_before + 1], np.float32)},
        loss=0.5 if private is None else math.nan,
        seconds=0.0,
    )
    held_out = 0.5 if private is None else math.nan
    outcome = rounds.Outcome(result=result, held_out_loss=held_out)
    finished = rounds.keep(task, kept, start, outcome, ledger=head)
    note(site, task, "kept")
    return finished


def change_of(purpose: str, shapes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Noise that the purpose decides."""
    import numpy as np

    seed = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    return {
        name: (1e-3 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def note(site: Any, task: Any, word: str) -> None:  # noqa: ANN401
    """Add a line to the file of trainings."""
    line = {
        "site": site.site_name,
        "study": task.digest,
        "round": task.number,
        "received": task.instruction.weights.digest,
        "word": word,
    }
    with Path(os.environ[TRAININGS_VARIABLE]).open("a") as file:
        file.write(json.dumps(line) + "\n")
