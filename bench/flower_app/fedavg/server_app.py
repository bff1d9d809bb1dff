"""Flower's own FedAvg on generated weights: one round, timed from the first question to the mean."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the round, and write down how many seconds it took."""
    words = {name: str(value) for name, value in context.run_config.items()}
    shapes, num_sites = json.loads(words["shapes"]), int(words["sites"])
    noise = np.random.default_rng(0)
    weights = ArrayRecord(
        {name: Array(noise.random(shape, dtype=np.float32)) for name, shape in shapes.items()}
    )
    while len(list(grid.get_node_ids())) < num_sites:
        time.sleep(0.2)
    strategy = FedAvg(
        fraction_evaluate=0.0, min_train_nodes=num_sites, min_available_nodes=num_sites
    )
    Path(words["began"]).touch()
    started = time.monotonic()
    mean = strategy.start(grid, weights, num_rounds=1).arrays
    seconds = time.monotonic() - started
    if not any(np.any(mean[name].numpy() != weights[name].numpy()) for name in shapes):
        raise RuntimeError("no answer counted")
    Path(words["result"]).write_text(str(seconds))
