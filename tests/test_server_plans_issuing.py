"""The plan that a coordinator issues: once, signed by its authority, and anew when it would say something else."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

import server.plans.issuing
from federation.code_digest import installed_code
from federation.config import StudyConfig, study_json
from federation.plan import parse_plan
from federation.stages import FullStage, LocalTraining
from federation.strict_yaml import ConfigError, dump_yaml
from server.enrolment.authority import study_authority
from server.plans.issuing import PLAN, Terms, signed_plan
from server.store import StudyStore

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-3)
STAGE = FullStage(kind="full", num_rounds=2, local=LOCAL)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(study_of: Callable[..., StudyConfig], tmp_path: Path) -> StudyStore:
    return StudyStore.create(tmp_path, study_of(STAGE))


def test_a_study_has_one_plan_signed_by_its_coordinators_authority(
    store: StudyStore, tmp_path: Path
) -> None:
    signed = signed_plan(store)
    plan = parse_plan(signed.text)
    assert signed.is_signed_by(study_authority(tmp_path).public)
    assert (plan.study, plan.code_digest, plan.base_digest) == (store.study, installed_code(), "")
    assert timedelta(364) < plan.ends - datetime.now(UTC).date() < timedelta(366)
    assert signed_plan(StudyStore(store.folder)) == signed


def test_a_later_plan_replaces_the_one_whose_program_is_not_installed_any_more(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = date(2031, 1, 2)
    first = signed_plan(store, Terms(data_use="only this", ends=ends))
    monkeypatch.setattr(server.plans.issuing, "installed_code", lambda: "d" * 64)
    old, new = parse_plan(first.text), parse_plan(signed_plan(store).text)
    assert (new.code_digest, new.data_use, new.ends) == ("d" * 64, "only this", ends)
    assert new.issued > old.issued


def test_terms_that_a_person_decides_make_a_new_plan_only_if_they_are_new(
    store: StudyStore,
) -> None:
    terms = Terms(ends=date(2031, 1, 2))
    before, after = signed_plan(store), signed_plan(store, terms)
    assert before.digest != after.digest
    assert signed_plan(store, terms) == signed_plan(store) == after


def test_a_plan_that_another_authority_signed_is_not_handed_on(store: StudyStore) -> None:
    signed_plan(store)
    forged = json.loads((store.folder / PLAN).read_text())
    forged["plan"] = forged["plan"].replace("Training", "Selling", 1)
    (store.folder / PLAN).write_text(json.dumps(forged))
    assert "Selling" not in signed_plan(store).text


def test_a_plan_of_two_lines_is_never_signed(store: StudyStore) -> None:
    with pytest.raises((ConfigError, ValueError), match="one line of printable letters"):
        signed_plan(store, Terms(data_use="two\nlines"))
    assert not (store.folder / PLAN).exists()


def test_the_plan_can_be_read_and_decided_before_the_study_runs(
    study_of: Callable[..., StudyConfig], tmp_path: Path, fedcxr: Command
) -> None:
    path, state = tmp_path / "study.yaml", tmp_path / "state"
    path.write_text(dump_yaml(json.loads(study_json(study_of(STAGE)))))
    shown = ("coordinator", "plan", path, "--state", state)
    code, out, _ = fedcxr(*shown, "--data-use", "research on toys", "--ends", "2031-01-02")
    assert code == 0
    code, facts, _ = fedcxr(*shown, "--json")
    plan = json.loads(facts)
    assert (plan["data_use"], plan["ends"]) == ("research on toys", "2031-01-02")
    assert f"plan {plan['digest']}" in out
    assert fedcxr("coordinator", "plan", "toy", "--state", state)[1] == out


def test_a_study_that_nobody_knows_has_no_plan(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "nobody" in refused("coordinator", "plan", "nobody", "--state", tmp_path)
