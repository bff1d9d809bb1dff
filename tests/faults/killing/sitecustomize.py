"""Has a program be killed at a chosen point: put this folder on PYTHONPATH, and name the plan in FEDCXR_TEST_KILLS.

Every program of coordinator and hospital runs unchanged but for the functions that `points` names; they tell when they
are reached. Hospitals answer with a change that follows from what they were asked and nothing else (`untrained`).
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads modules as they are, then lets each be changed."""

    def __init__(self, changes: Mapping[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes
        self._real: dict[str, importlib.abc.Loader] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            self._real[fullname] = spec.loader
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        self._real[module.__name__].exec_module(module)
        self._changes[module.__name__](module)


if os.environ.get("FEDCXR_TEST_KILLS"):
    from tests.faults.killing.points import CHANGES

    sys.meta_path.insert(0, _Changed(CHANGES))
