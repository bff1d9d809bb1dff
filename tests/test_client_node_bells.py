"""A hospital's task begins when its node has fetched a message, not when somebody next happens to look."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

import client.node_executor
from client.node_executor import TASK_POLL_SECONDS, wait_for_the_bell
from client.node_launcher import ask_sooner
from federation.bells import TASKS, Bells, bells_of


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return bells_of(tmp_path)


def flower(name: str, monkeypatch: pytest.MonkeyPatch, *replaced: str) -> ModuleType:
    """One of Flower's modules, whose names are put back after the test."""
    module = importlib.import_module(name)
    for each in replaced:
        monkeypatch.setattr(module, each, getattr(module, each))
    return module


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept; nobody waits for it."""
    naps: list[float] = []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return sum(naps)

        @staticmethod
        def sleep(seconds: float) -> None:
            naps.append(seconds)

    monkeypatch.setattr(client.node_executor, "time", Clock)
    return naps


def test_the_executor_looks_at_once_when_the_bell_rang_and_else_now_and_then(
    bells: Bells, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = flower("flwr.supercore.superexec.run_superexec", monkeypatch, "time")
    wait_for_the_bell(bells)
    bells.ring(TASKS)
    executor.time.sleep(1.0)
    assert naps == []
    executor.time.sleep(1.0)
    assert sum(naps) == pytest.approx(TASK_POLL_SECONDS, abs=0.1)


@pytest.mark.parametrize(("run_id", "rings"), [(7, True), (None, False)])
def test_the_node_rings_for_a_message_and_for_nothing_else(
    bells: Bells, monkeypatch: pytest.MonkeyPatch, run_id: int | None, *, rings: bool
) -> None:
    pull = "_pull_and_store_message"
    node = flower("flwr.supernode.start_client_internal", monkeypatch, "time", pull)
    monkeypatch.setattr(node, pull, lambda **_: run_id)
    ask_sooner(bells)
    assert getattr(node, pull)(state=None) == run_id
    assert bool(bells.rung(TASKS)) == rings
