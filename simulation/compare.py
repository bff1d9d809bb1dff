"""What the federation was worth: its loss on held-out radiographs against training alone and against pooling."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from client.cache.cipher import load_key
from client.cache.records import open_cache
from federation.config import StudyConfig
from federation.schedule import derive_seed
from model.arrays import Arrays, load_arrays
from model.generate import open_network
from server.export import adapter_path, model_path
from server.store import StudyStore
from simulation.alone import (
    Alternative,
    as_network_sees,
    build_network,
    fresh_weights,
    keep_trained,
    loss_on,
)
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.prepare import Say

POOLED = "pooled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Losses on the balanced held-out radiographs, all with the same noise."""

    untrained: float
    federated: float
    adapted: float | None
    """Of the federated model with the federated adapter; None if the study trains none."""
    alone: Mapping[str, float]
    """Of each hospital training by itself for the same number of local steps."""
    pooled: float | None
    """Of training on all records in one place for the same number of steps; None if nothing is compared."""

    @property
    def best_alone(self) -> str | None:
        """The hospital that does best by itself; None if nothing is compared."""
        return min(self.alone, key=lambda name: self.alone[name], default=None)

    @property
    def share_of_pooled_gain(self) -> float | None:
        """How much of what pooling would gain over no training the federation gains; 1 is all."""
        if self.pooled is None:
            return None
        return (self.untrained - self.federated) / (self.untrained - self.pooled)

    @property
    def share_of_way_to_pooled(self) -> float | None:
        """How much of what pooling gains over the best hospital alone the federation gains; None if nothing."""
        if self.best_alone is None or self.pooled is None:
            return None
        best = self.alone[self.best_alone]
        return (best - self.federated) / (best - self.pooled) if self.pooled < best else None


def compare(
    plan: SimulationConfig, store: StudyStore, names: list[str], layout: Layout, say: Say
) -> Comparison:
    """Train the alternatives, if they are wanted and that is not done, and measure everything on the held-out set."""
    study, others = plan.study, names if plan.compare else []
    if others:
        say(
            f"comparison: {len(names)} hospitals alone and all data pooled, the same number of steps"
        )
        train_alternatives(study, names, layout, store)
    say("comparison: measuring held-out losses")
    records = open_cache(layout.held_out / "state" / "cache", load_key(None))
    held_out = as_network_sees(study, records, layout.codec_path)
    seed = derive_seed(study, "comparison")

    def loss_of(weights: Arrays) -> float:
        return loss_on(build_network(study, weights), held_out, seed=seed)

    def loss_with(adapter: Path | None) -> float:
        network, _, _ = open_network(model_path(store), adapter)
        return loss_on(network, held_out, seed=seed)

    adapter = adapter_path(store)
    return Comparison(
        untrained=loss_of(store.start_weights() or fresh_weights(study)),
        federated=loss_with(None),
        adapted=loss_with(adapter) if adapter.exists() else None,
        alone={name: loss_of(load_arrays(layout.alone(name))) for name in others},
        pooled=loss_of(load_arrays(layout.alone(POOLED))) if others else None,
    )


def train_alternatives(
    study: StudyConfig, names: list[str], layout: Layout, store: StudyStore
) -> None:
    """Train each hospital alone and the pooled model, two at a time, from the federation's start and numbers."""
    numbers, start = store.site_numbers(), store.start_weights()
    groups = [([name], name) for name in names] + [(names, POOLED)]
    jobs = [
        Alternative(
            study=study,
            caches=[(layout.cache(name), numbers.get(name)) for name in members],
            name=label,
            path=layout.alone(label),
            codec_path=layout.codec_path,
            start=start,
        )
        for members, label in groups
        if not layout.alone(label).exists()
    ]
    if jobs:
        with get_context("spawn").Pool(2, initializer=_leave_interrupts_to_parent) as pool:
            pool.map(keep_trained, jobs)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
