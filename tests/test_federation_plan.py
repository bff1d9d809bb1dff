"""Plans: one spelling, one digest, one signature; and the digest of the program that they name."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from federation.code_digest import HOSPITAL_CODE, code_digest
from federation.config import StudyConfig, study_digest
from federation.plan import Plan, SignedPlan, UnusablePlan, parse_plan, plan_digest, plan_json
from federation.stages import FullStage, LocalTraining
from server.enrolment.authority import Authority, study_authority

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1e-3)
STAGE = FullStage(kind="full", num_rounds=2, local=LOCAL)


@pytest.fixture
def plan(study_of: Callable[..., StudyConfig]) -> Plan:
    return Plan(
        study=study_of(STAGE),
        code_digest="c" * 64,
        base_digest="",
        data_use="training",
        ends=date(2030, 5, 4),
        issued=1000,
    )


def test_a_plan_travels_without_a_letter_changed(plan: Plan) -> None:
    assert parse_plan(plan_json(plan)) == plan
    assert plan.study_digest == study_digest(plan.study)


@pytest.mark.parametrize(
    "change",
    [
        {"code_digest": "d" * 64},
        {"base_digest": "b" * 64},
        {"data_use": "selling"},
        {"ends": date(2030, 5, 5)},
        {"issued": 1001},
    ],
    ids=str,
)
def test_every_word_of_a_plan_is_in_its_digest(plan: Plan, change: dict[str, object]) -> None:
    assert plan_digest(replace(plan, **change)) != plan_digest(plan)  # type: ignore[arg-type]


def test_another_study_is_another_plan(plan: Plan, study_of: Callable[..., StudyConfig]) -> None:
    louder = replace(STAGE, local=replace(LOCAL, local_steps=2))
    assert plan_digest(replace(plan, study=study_of(louder))) != plan_digest(plan)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.replace('"issued":1000', '"issued":1000,"issued":1000'),
        lambda text: text.replace('"issued"', '"issuedd"'),
        lambda text: text.replace('"2030-05-04"', '"2030-13-04"'),
        lambda text: text.replace('"training"', '"two\\nlines"'),
        lambda text: text[:-1],
        lambda _: "[" * 100_000,
        lambda _: "null",
        lambda text: text + " " * 1_000_000,
    ],
    ids=["space", "twice", "unknown", "date", "lines", "cut", "deep", "null", "long"],
)
def test_what_is_not_spelled_the_one_way_is_no_plan(
    plan: Plan, spoil: Callable[[str], str]
) -> None:
    with pytest.raises(UnusablePlan, match="the plan cannot be read"):
        parse_plan(spoil(plan_json(plan)))


def test_only_the_authoritys_signature_on_this_very_text_counts(
    plan: Plan, authority: Authority, tmp_path: Path
) -> None:
    text = plan_json(plan)
    signed = SignedPlan(text=text, signature=authority.sign(text.encode()))
    assert signed.digest == plan_digest(plan)
    assert signed.is_signed_by(authority.public)
    assert not signed.is_signed_by(study_authority(tmp_path).public)
    assert not replace(signed, text=text.replace("training", "traininG")).is_signed_by(
        authority.public
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A small program laid out as this one."""
    for name in HOSPITAL_CODE:
        path = tmp_path / name
        if path.suffix:
            path.write_text("cli")
        else:
            path.mkdir(parents=True)
            (path / "a.py").write_text(name)
    return tmp_path


def test_what_the_interpreter_writes_changes_no_digest(program: Path) -> None:
    before = code_digest(program)
    (program / "client" / "__pycache__").mkdir()
    (program / "client" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    assert code_digest(program) == before


@pytest.mark.parametrize("name", ["client/a.py", "cli.py", "configs/labels/a.py", "privacy/a.py"])
def test_a_letter_in_any_part_of_the_program_changes_its_digest(program: Path, name: str) -> None:
    before = code_digest(program)
    (program / name).write_text("other")
    assert code_digest(program) != before


def test_files_added_taken_away_or_renamed_change_the_digest(program: Path) -> None:
    seen = {code_digest(program)}
    (program / "model" / "b.py").write_text("")
    seen.add(code_digest(program))
    (program / "model" / "b.py").rename(program / "model" / "c.py")
    seen.add(code_digest(program))
    (program / "model" / "c.py").unlink()
    (program / "model" / "a.py").unlink()
    seen.add(code_digest(program))
    assert len(seen) == 4
