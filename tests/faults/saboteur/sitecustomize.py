"""Makes a hospital misbehave: put this folder on PYTHONPATH and name the fault in FEDCXR_TEST_FAULT.

The hospital's own program runs unchanged; what it answers is spoilt on the way out, in its own process.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

Answer = Any


def _nan(update: Answer) -> Answer:
    name = min(update.change)
    spoilt = np.full_like(update.change[name], np.nan)
    return replace(update, change={**update.change, name: spoilt})


def _omit(update: Answer) -> Answer:
    name = min(update.change)
    rest = {key: tensor for key, tensor in update.change.items() if key != name}
    return replace(update, change=rest)


FAULTS: dict[str, Callable[[Answer], Answer]] = {"nan": _nan, "omit": _omit}


class _SpoilRounds(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads ``client.rounds`` as it is, then wraps its ``answer``."""

    def __init__(self, fault: Callable[[Answer], Answer]) -> None:
        self._fault = fault

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
        honest = vars(module)["answer"]
        vars(module)["answer"] = lambda site, task: self._fault(honest(site, task))


if os.environ.get("FEDCXR_TEST_FAULT"):
    sys.meta_path.insert(0, _SpoilRounds(FAULTS[os.environ["FEDCXR_TEST_FAULT"]]))
