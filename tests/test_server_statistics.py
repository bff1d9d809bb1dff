"""From the command to the answers: one question, one run, one file; and what is said when a run comes to nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from flwr.serverapp import Grid

import server.app
import server.gathering
from federation.config import StudyConfig, study_digest
from federation.files import AlreadyRunning, hold_lock
from federation.messages import CountsAnswer, CountsRequest, Refusal, RefusalCode, SiteCounts
from federation.stages import FullStage, LocalTraining
from federation.statistics import FILES, layout
from model.conditioning import FINDINGS
from server.app import take_census
from server.control import ControlRefused
from server.environment import STATE_VARIABLE
from server.gathering import NobodyToAsk, NotAnswered, gather
from server.statistics import read_question, statistics_folder, write_answers

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=1, local=LOCAL)
SHAPE = layout(FINDINGS)
ANSWERS: dict[str, CountsAnswer] = {
    "north": SiteCounts(
        num_patients=120,
        num_files=130,
        files=dict.fromkeys(FILES) | {"usable": 130},
        table={name: dict.fromkeys(values) for name, values in SHAPE.items()},
        min_cell=10,
        epsilon=None,
        max_pairs=2,
        pairs={"sex": {"edema": {"F": {"not_present": 40, "present": None}}}},
    ),
    "south": Refusal(code=RefusalCode.STATISTICS, reason="words"),
}
Behaviour = Callable[[Path], None]


@pytest.fixture
def study(study_of: Callable[..., StudyConfig]) -> StudyConfig:
    return study_of(STAGE)


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What Flower would do with the run, and the configurations it got."""
    seen = SimpleNamespace(
        run=lambda _: None, configs=[], status=iter(()), sites=("north", "south")
    )

    def submit(state_path: Path, run_config: dict[str, str]) -> str:
        seen.configs.append(run_config)
        seen.run(statistics_folder(state_path, run_config["study"]))
        return "7"

    def status(_: Path, run_id: str) -> str:
        assert run_id == "7"
        word = next(seen.status)
        if isinstance(word, Exception):
            raise word
        return str(word)

    monkeypatch.setattr(server.gathering, "submit_run", submit)
    monkeypatch.setattr(server.gathering, "run_status", status)
    monkeypatch.setattr(server.gathering, "registered_sites", lambda _: seen.sites)
    monkeypatch.setattr(server.gathering, "POLL_SECONDS", 0.002)
    monkeypatch.setattr(server.gathering, "CHECK_SECONDS", 0.004)
    return seen


def answers(folder: Path) -> None:
    write_answers(folder, read_question(folder), ANSWERS)


def test_answers_come_back_as_the_run_wrote_them(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path
) -> None:
    flower.run = answers
    pairs = (("sex", "edema"), ("view", "age"))
    assert gather(tmp_path, study, pairs=pairs, wait_seconds=1.0) == ANSWERS
    assert flower.configs == [{"study": study_digest(study), "task": "statistics"}]
    question = read_question(statistics_folder(tmp_path, study_digest(study)))
    assert question.request == CountsRequest(findings=study.findings, pairs=pairs)
    assert (question.sites, question.wait_seconds) == (("north", "south"), 1.0)


def test_answers_to_an_earlier_question_do_not_count(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path
) -> None:
    flower.run = answers
    gather(tmp_path, study, wait_seconds=1.0)
    flower.run, flower.status = lambda _: None, iter(["running", "finished:failed"])
    with pytest.raises(NotAnswered, match=r"ended without a result: read .*/logs/study.log"):
        gather(tmp_path, study, wait_seconds=1.0)


@pytest.mark.usefixtures("flower")
def test_answers_of_a_run_that_ended_between_two_looks_are_found(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(state_path: Path, _: str) -> str:
        answers(statistics_folder(state_path, study_digest(study)))
        return "finished:completed"

    monkeypatch.setattr(server.gathering, "run_status", ends)
    assert gather(tmp_path, study, wait_seconds=1.0) == ANSWERS


def test_a_coordinator_that_is_restarting_is_asked_again(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path
) -> None:
    flower.status = iter([ControlRefused("the SuperLink does not answer"), "finished:failed"])
    with pytest.raises(NotAnswered):
        gather(tmp_path, study, wait_seconds=1.0)


def test_a_run_that_says_nothing_is_given_up(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.gathering, "START_SECONDS", 0.02)
    flower.status = iter(["running"] * 1000)
    with pytest.raises(NotAnswered):
        gather(tmp_path, study, wait_seconds=0.02)


def test_two_commands_do_not_ask_the_same_at_once(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path
) -> None:
    lock = statistics_folder(tmp_path, study_digest(study)) / "lock"
    with hold_lock(lock), pytest.raises(AlreadyRunning):
        gather(tmp_path, study, wait_seconds=1.0)
    assert flower.configs == []


def test_with_an_empty_roster_there_is_nobody_to_ask() -> None:
    assert "put the hospitals' public keys there" in str(NobodyToAsk())


def test_the_runs_process_asks_the_question_and_writes_the_answers(
    study: StudyConfig, flower: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def ask(_: object, request: CountsRequest, **terms: object) -> dict[str, CountsAnswer]:
        asked.extend([request, terms])
        return ANSWERS

    monkeypatch.setattr(server.app, "ask_for_counts", ask)
    flower.run = lambda folder: take_census(folder, cast("Grid", None))
    assert gather(tmp_path, study, wait_seconds=5.0) == ANSWERS
    assert asked == [
        CountsRequest(findings=study.findings),
        {"sites": frozenset({"north", "south"}), "wait_seconds": 5.0},
    ]


@pytest.mark.parametrize("task", ["statistics", "rounds"])
def test_a_runs_configuration_chooses_between_asking_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    done: list[str] = []
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(server.app, "die_with_parent", lambda: None)
    monkeypatch.setattr(server.app, "take_census", lambda *_: done.append("statistics"))
    monkeypatch.setattr(server.app, "find_study", lambda *_: None)
    monkeypatch.setattr(server.app, "conduct", lambda *_: done.append("rounds"))
    context = SimpleNamespace(run_config={"study": "a" * 64, "task": task})
    server.app.main(cast("Grid", None), context)  # type: ignore[arg-type]
    assert done == [task]
