"""Makes a hospital misbehave: put this folder on PYTHONPATH and name what it does wrong.

FEDCXR_TEST_FAULTS names a fault per round, separated by commas (an empty one is none), FEDCXR_TEST_FAULT one for all
rounds. The hospital's own programs run unchanged, their last look at what leaves included; what they send is spoilt on
the way out, in their own process (`spoiling`, `spoiling_deliveries`). FEDCXR_TEST_STAND_IN names a file that replaces training.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

Change = Callable[[ModuleType], None]


def _spoil_answers(module: ModuleType) -> None:
    from spoiling import spoilt_answer

    honest = vars(module)["answer"]
    vars(module)["answer"] = lambda site, asked: spoilt_answer(site, asked, honest(site, asked))


def _spoil_deliveries(module: ModuleType) -> None:
    from spoiling_deliveries import spoilt_leaving

    vars(module)["leave_shards"] = spoilt_leaving(vars(module)["leave_shards"], module)


def _spoil_packing(module: ModuleType) -> None:
    from spoiling import spoilt_record

    honest = vars(module)["pack_answer"]
    vars(module)["pack_answer"] = lambda answer: spoilt_record(honest(answer), answer)


def _say_twice(module: ModuleType) -> None:
    from spoiling_deliveries import said_twice

    vars(module)["_push_messages"] = said_twice(vars(module)["_push_messages"])


CHANGES: dict[str, Change] = {
    "client.rounds": _spoil_answers,
    "client.delivery": _spoil_deliveries,
    "client.app": _spoil_packing,
    "flwr.supernode.start_client_internal": _say_twice,
}


class _Changing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads some modules as they are, then changes them."""

    def __init__(self) -> None:
        self._real: dict[str, importlib.abc.Loader] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in CHANGES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._real[fullname] = spec.loader
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        self._real[module.__name__].exec_module(module)
        CHANGES[module.__name__](module)


def _run(path: str) -> None:
    """Run a file as a module of its own."""
    spec = importlib.util.spec_from_file_location("stand_in", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("FEDCXR_TEST_STAND_IN"):
    _run(os.environ["FEDCXR_TEST_STAND_IN"])
if os.environ.get("FEDCXR_TEST_FAULT") or os.environ.get("FEDCXR_TEST_FAULTS"):
    sys.meta_path.insert(0, _Changing())
