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
from server.start import starting_weights
from server.store import StudyStore
from simulation.alone import as_network_sees, build_network, keep_trained, loss_on
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
    pooled: float
    """Of training on all records in one place for the same number of steps."""

    @property
    def best_alone(self) -> str:
        """The hospital that does best by itself."""
        return min(self.alone, key=lambda name: self.alone[name])

    @property
    def share_of_pooled_gain(self) -> float:
        """How much of what pooling would gain over no training the federation gains; 1 is all."""
        return (self.untrained - self.federated) / (self.untrained - self.pooled)

    @property
    def share_of_way_to_pooled(self) -> float | None:
        """How much of what pooling gains over the best hospital alone the federation gains; None if nothing."""
        best = self.alone[self.best_alone]
        return (best - self.federated) / (best - self.pooled) if self.pooled < best else None


def compare(
    study: StudyConfig, store: StudyStore, names: list[str], layout: Layout, say: Say
) -> Comparison:
    """Train the alternatives, if that is not done, and measure everything on the held-out set."""
    say(f"comparison: {len(names)} hospitals alone and all data pooled, the same number of steps")
    train_alternatives(study, names, layout, store.site_numbers())
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
        untrained=loss_of(starting_weights(study, 0, {})),
        federated=loss_with(None),
        adapted=loss_with(adapter) if adapter.exists() else None,
        alone={name: loss_of(load_arrays(layout.alone(name))) for name in names},
        pooled=loss_of(load_arrays(layout.alone(POOLED))),
    )


def train_alternatives(
    study: StudyConfig, names: list[str], layout: Layout, numbers: Mapping[str, int]
) -> None:
    """Train each hospital alone and the pooled model, two at a time, with the federation's numbers of hospitals."""
    groups = [([name], name) for name in names] + [(names, POOLED)]
    jobs = [
        (
            study,
            [(layout.cache(name), numbers.get(name)) for name in members],
            label,
            layout.alone(label),
            layout.codec_path,
        )
        for members, label in groups
        if not layout.alone(label).exists()
    ]
    if jobs:
        with get_context("spawn").Pool(2, initializer=_leave_interrupts_to_parent) as pool:
            pool.starmap(keep_trained, jobs)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
