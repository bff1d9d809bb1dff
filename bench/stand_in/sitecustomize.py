"""Makes a hospital answer without training: put this folder on PYTHONPATH.

The hospital's own programs run unchanged; in place of training, a change is generated (or, with FEDCXR_BENCH_CHANGE, one
that lies ready is taken), so that what is measured is everything around training.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def generated_change(site_name: str, shapes: Any) -> Any:  # noqa: ANN401  imported late
    """Noise that is read piece by piece and never in memory as a whole."""
    import numpy as np  # noqa: PLC0415  this file is loaded by every Python program of the hospital

    from model.tensors import Tensors  # noqa: PLC0415

    class Generated(Tensors):
        """Values of a short random sequence, over and over."""

        noise = np.random.default_rng(list(site_name.encode())).normal(size=2**20)

        @property
        def shapes(self) -> Any:  # noqa: ANN401
            """As asked."""
            return shapes

        def piece(self, piece: Any) -> Any:  # noqa: ANN401
            """Some of the noise."""
            start = piece.start % self.noise.size
            values = np.resize(np.roll(self.noise, -start), piece.num_values)
            return (1e-3 * values).astype(np.float32)

    return Generated()


def train(rounds: ModuleType, site: Any, task: Any, kept: Any) -> Any:  # noqa: ANN401
    """Receive the weights as any hospital, then keep a change that nobody trained."""
    start = rounds.start_of(site, task, kept)
    shapes = {name: start.weights.shapes[name] for name in start.trained}
    result = rounds.LocalResult(
        change=generated_change(site.site_name, shapes), optimizer_state={}, loss=1.0, seconds=0.0
    )
    ready = os.environ.get("FEDCXR_BENCH_CHANGE")
    if ready:
        use_ready(rounds, Path(ready))
    return rounds.keep(task, kept, start, rounds.Outcome(result=result, held_out_loss=1.0))


def use_ready(rounds: ModuleType, ready: Path) -> None:
    """Take a packed change that lies ready: a disk need not hold it once for every hospital."""

    def take(folder: Path, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        import pickle  # noqa: PLC0415

        (folder / rounds.CHANGE).symlink_to(ready / rounds.CHANGE)
        return pickle.loads((ready / "packed").read_bytes())  # noqa: S301  the benchmark's own

    vars(rounds)["pack_change"] = take


class _WithoutTraining(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads ``client.rounds`` as it is, then replaces its ``train``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "client.rounds":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            self._real = spec.loader
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        from client.training import LocalResult  # noqa: PLC0415

        vars(module)["LocalResult"] = LocalResult
        vars(module)["train"] = lambda site, task, kept, _=None: train(module, site, task, kept)


if Path(sys.argv[0]).parent != Path(__file__).parents[1]:  # not in the benchmark itself
    sys.meta_path.insert(0, _WithoutTraining())
