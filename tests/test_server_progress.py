"""Progress for a person: plain lines say each thing once, the table shows every hospital."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from federation.config import StudyConfig
from federation.stages import FullStage, LocalTraining
from server.progress import (
    PlainProgress,
    clock,
    headline,
    last_sign,
    part_line,
    show_progress,
    table,
)
from server.records import Part, Reached
from server.status import study_status
from server.store import StudyStore
from server.watch import want

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=3, local=LOCAL)
DONE = Part(
    number=1,
    site="st-elsewhere",
    attempt=1,
    state="admitted",
    loss=0.51234,
    held_out_loss=0.25,
    num_records=481,
    num_files=490,
    bytes_down=2_000_000,
    bytes_up=1_000_000,
)
ASKED = Part(number=1, site="county", attempt=1, state="asked")
REFUSED = replace(ASKED, site="general", state="refused", code="norm", reason="norm [/red] 9")


@pytest.fixture
def store(study_of: Callable[..., StudyConfig], memory_path: Path) -> StudyStore:
    return StudyStore.create(memory_path, study_of(FULL))


def commit(store: StudyStore, part: Part, *, seconds: float) -> None:
    store.open_round(1)
    store.commit(Reached(number=1, digests={}, base_digest=""), [part], seconds=seconds)


def finish_round(store: StudyStore) -> None:
    for part in (DONE, REFUSED):
        store.record(part)
    commit(store, DONE, seconds=45.0)


def shown(store: StudyStore) -> str:
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(table(study_status(store)))
    return console.export_text()


def test_plain_lines_say_each_thing_once(store: StudyStore) -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    progress(store)
    assert lines == []
    finish_round(store)
    for _ in range(3):
        progress(store)
    assert lines == [
        "round 1: general does not count (norm): norm [/red] 9",
        (
            "round 1 of 3: 1 hospital, loss 0.5123, held-out 0.2500, 481 of 490 files usable, "
            "2.0 MB down, 1.0 MB up, 01:30 left"
        ),
    ]


def test_losses_that_stay_at_the_hospitals_are_not_mentioned(store: StudyStore) -> None:
    lines: list[str] = []
    silent = replace(DONE, loss=math.nan, held_out_loss=math.nan, num_records=0, num_files=0)
    store.record(silent)
    commit(store, silent, seconds=45.0)
    PlainProgress(lines.append)(store)
    assert lines == ["round 1 of 3: 1 hospital, 2.0 MB down, 1.0 MB up, 01:30 left"]


def test_a_second_refusal_of_the_same_hospital_is_news(store: StudyStore) -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    for attempt in (1, 2, 2):
        store.record(replace(REFUSED, attempt=attempt))
        progress(store)
    assert len(lines) == 2


def test_why_a_study_waits_and_that_it_runs_again_is_said_once(store: StudyStore) -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    want(store)
    for _ in range(3):
        progress(store)
    with store.lock():
        progress(store)
        progress(store)
    assert lines == [
        "toy: waiting: the coordinator is not running; start it with `fedcxr coordinator up`",
        "toy: running",
    ]


def test_the_table_says_why_a_study_waits(store: StudyStore) -> None:
    want(store)
    assert "  the coordinator is not running; start it" in shown(store)


def test_the_last_sign_of_a_hospital_is_told_if_it_is_known() -> None:
    assert last_sign(replace(ASKED, time=100.0), 165.0) == ", 01:05 ago"
    assert last_sign(ASKED, 165.0) == ""


def test_without_a_terminal_progress_is_plain_lines(store: StudyStore) -> None:
    lines: list[str] = []
    finish_round(store)
    with show_progress(lines.append) as on_change:
        on_change(store)
    assert len(lines) == 2


def test_counts_that_are_not_shared_are_not_shown_as_zero(store: StudyStore) -> None:
    lines: list[str] = []
    part = replace(DONE, num_records=0, num_files=0)
    store.record(part)
    assert "not shared" in shown(store)
    commit(store, part, seconds=1.0)
    PlainProgress(lines.append)(store)
    assert "usable" not in lines[0]


def test_counts_of_refused_hospitals_are_not_added_up(store: StudyStore) -> None:
    lines: list[str] = []
    store.record(replace(REFUSED, num_records=1000, num_files=1000))
    store.record(DONE)
    commit(store, DONE, seconds=1.0)
    PlainProgress(lines.append)(store)
    assert "481 of 490 files usable" in lines[1]


def test_the_table_shows_every_hospital_with_its_state(store: StudyStore) -> None:
    for part in (DONE, ASKED, REFUSED):
        store.record(part)
    lines = shown(store).splitlines()
    assert lines[0].startswith("toy: idle, round 1 of 3 (full), 2.0 MB down, 1.0 MB up")
    rows = {line.split()[0]: line for line in lines[2:] if line.strip()}
    assert rows.keys() == {"county", "general", "st-elsewhere"}
    assert "training" in rows["county"]
    words = " ".join(rows["st-elsewhere"].split())
    assert words == "st-elsewhere done 481 / 490 0.5123 0.2500 2.0 1.0"


def test_a_hospitals_reason_is_shown_as_it_is_and_never_as_markup(store: StudyStore) -> None:
    store.record(REFUSED)
    assert "norm [/red] 9" in shown(store)


def test_the_forecast_stands_in_the_headline_while_the_study_runs(store: StudyStore) -> None:
    finish_round(store)
    assert "left" not in headline(study_status(store))
    with store.lock():
        assert "round 2 of 3 (full), 01:30 left" in headline(study_status(store))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "00:00"),
        (59.9, "00:59"),
        (3599.0, "59:59"),
        (3600.0, "01:00:00"),
        (90061.0, "25:01:01"),
    ],
)
def test_a_duration_is_told_in_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_hospital_that_waits_for_approval_is_told_once_and_by_its_name(store: StudyStore) -> None:
    lines: list[str] = []
    say = PlainProgress(lines.append)
    reason = "plan 0123 waits for approval"
    part = Part(number=1, site="st-mary", attempt=1, state="waiting", code="unapproved")
    for time in (1.0, 2.0):
        store.record(replace(part, reason=reason, time=time))
        say(store)
    told = [line for line in lines if "st-mary" in line]
    assert told == [f"round 1: st-mary waits for approval and is asked again ({reason})"]
    assert part_line(replace(part, time=10.0), 15.0) == "st-mary: waits for approval, 00:05 ago"
