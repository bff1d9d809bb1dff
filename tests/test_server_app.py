"""How a run over Flower's grid ends: finished with its models, or stopped with the reason."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.serverapp import Grid

import server.app
from federation.config import StudyConfig
from federation.files import AlreadyRunning
from federation.stages import FullStage, LocalTraining
from model.tensors import InMemory
from server.aggregation.shares import QuorumNotMet
from server.app import conduct
from server.hospitals import Hospitals
from server.next_round import Diverged
from server.state import GlobalState
from server.store import DamagedRound, StudyStore

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=1, local=LOCAL)


class NobodyConnected:
    """A grid without a node."""

    def get_nodes(self) -> list[object]:
        """Nobody."""
        return []


GRID = cast("Grid", NobodyConnected())
KEY = Ed25519PrivateKey.generate()


def test_a_round_nobody_answers_stops_the_study_with_the_quorums_sentence(
    study_of: StudyOf, tmp_path: Path
) -> None:
    rules = {"max_attempts": 1, "deadline_seconds": 0.01}
    store = StudyStore.create(tmp_path, study_of(STAGE, **rules))
    conduct(store, GRID, KEY)
    assert store.fact("stopped").startswith("round 1 has 0 admitted updates of at least 2")
    assert store.fact("finished") == ""
    assert not store.is_running()


@pytest.mark.parametrize(
    "reason", [QuorumNotMet(round_number=3, admitted=1, required=2), Diverged(3), DamagedRound(2)]
)
def test_what_a_person_must_settle_is_kept_as_the_reason(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    def fail(*_: object) -> NoReturn:
        raise reason

    monkeypatch.setattr(server.app, "run_study", fail)
    store = StudyStore.create(tmp_path, study_of(STAGE))
    conduct(store, GRID, KEY)
    assert store.fact("stopped") == str(reason)
    assert store.fact("finished") == ""


def test_a_study_is_finished_only_after_its_models_are_written(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, bool]] = []
    store = StudyStore.create(tmp_path, study_of(STAGE))
    store.set_fact("stopped", "an earlier run's reason")
    monkeypatch.setattr(
        server.app,
        "run_study",
        lambda *_: GlobalState(round_number=1, weights=InMemory({}), digest=""),
    )
    monkeypatch.setattr(
        server.app,
        "export_models",
        lambda store, _: seen.append(
            (store.fact("finished"), store.fact("stopped"), store.is_running())
        ),
    )
    conduct(store, GRID, KEY)
    assert seen == [("", "", True)]
    assert float(store.fact("finished")) > 0


def test_hospitals_get_the_numbers_that_the_store_keeps(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sees_two_hospitals(_: StudyStore, hospitals: Hospitals, __: object) -> NoReturn:
        told.extend(hospitals.number_site(site) for site in ("north", "east", "north"))
        raise QuorumNotMet(round_number=1, admitted=0, required=2)

    told: list[int | None] = []
    monkeypatch.setattr(server.app, "run_study", sees_two_hospitals)
    store = StudyStore.create(tmp_path, study_of(STAGE))
    conduct(store, GRID, KEY)
    assert told == [1, 2, 1]
    assert store.site_numbers() == {"north": 1, "east": 2}


def test_a_defect_leaves_the_study_neither_finished_nor_stopped(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise KeyError("defect")

    monkeypatch.setattr(server.app, "run_study", fail)
    store = StudyStore.create(tmp_path, study_of(STAGE))
    with pytest.raises(KeyError):
        conduct(store, GRID, KEY)
    assert (store.fact("finished"), store.fact("stopped"), store.is_running()) == ("", "", False)


def test_two_runs_never_conduct_one_study(
    study_of: StudyOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StudyStore.create(tmp_path, study_of(STAGE))
    with caplog.at_level(logging.INFO), store.lock(), pytest.raises(AlreadyRunning):
        conduct(StudyStore(store.folder), GRID, KEY)
    assert store.fact("stopped") == ""
