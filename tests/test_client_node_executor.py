"""What a hospital loads before it is asked, and what only while nobody asks."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from client import node_executor
from client.node_executor import PRELOADED, PRELOADED_AT_LEISURE


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is loaded, in their order; nothing is."""
    names: list[str] = []
    monkeypatch.setattr(node_executor, "importlib", SimpleNamespace(import_module=names.append))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # only a main thread may
    return names


def test_what_only_private_rounds_need_is_loaded_while_nobody_asks(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node_executor, "LEISURE_SECONDS", 0.05)
    reading, writing = os.pipe()
    nursery = threading.Thread(target=node_executor._tend_nursery, args=(reading, tmp_path))  # noqa: SLF001
    nursery.start()
    nursery.join(0.5)
    assert nursery.is_alive()  # waits for the first task
    os.close(writing)
    nursery.join(10)
    assert loaded == [*PRELOADED, PRELOADED_AT_LEISURE]


def test_who_asks_at_once_does_not_wait_for_it(loaded: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    node_executor._tend_nursery(reading, tmp_path)  # noqa: SLF001
    assert loaded == [*PRELOADED]
