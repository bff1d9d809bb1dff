"""Whoever waits for hospitals pulls an answer when its bell has rung, and now and then in any case."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from federation.bells import ANSWERS, QUESTIONS, Bells, bells_of
from server.mailbox import MAX_PAUSE_SECONDS, SILENT_SECONDS, Mailbox, Node

NODES = [Node(site=site, node_id=number, activation="") for number, site in enumerate("ab")]


@dataclass
class SilentGrid:
    """Takes messages and counts how often it is asked for answers, of which there are none."""

    pulls: list[str] = field(default_factory=list)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Numbers them by their hospital."""
        return [str(message.metadata.dst_node_id) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Nothing."""
        self.pulls += message_ids
        return []


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 0.0
    naps: int = 0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Later."""
        self.now += seconds
        self.naps += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    moved = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep)
    monkeypatch.setattr("server.mailbox.time", moved)
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return clock


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return bells_of(tmp_path)


@pytest.fixture
def grid() -> SilentGrid:
    return SilentGrid()


@pytest.fixture
def mail(clock: Clock, grid: SilentGrid, bells: Bells) -> Mailbox:
    """Both hospitals were asked."""
    del clock
    mail = Mailbox(grid=cast("Grid", grid), kind="train", bells=bells)
    for node in NODES:
        mail.send(node, RecordDict(), seconds_left=60.0)
    return mail


def look(mail: Mailbox, grid: SilentGrid) -> list[str]:
    """Whose answer is asked for at a look."""
    grid.pulls.clear()
    for site in list(mail.waiting):
        assert list(mail.replies(site)) == []
    return [NODES[int(number)].site for number in grid.pulls]


def test_only_the_hospital_whose_bell_rang_is_looked_at_and_once(
    mail: Mailbox, grid: SilentGrid, bells: Bells
) -> None:
    assert look(mail, grid) == []
    bells.ring(ANSWERS + "b")
    assert look(mail, grid) == ["b"]
    assert look(mail, grid) == []


def test_a_hospital_whose_bell_is_lost_is_looked_at_all_the_same(
    mail: Mailbox, grid: SilentGrid, clock: Clock
) -> None:
    clock.now += SILENT_SECONDS + 1
    assert look(mail, grid) == ["a", "b"]
    assert look(mail, grid) == []


def test_a_rest_ends_when_a_bell_rings_and_else_by_itself(
    mail: Mailbox, bells: Bells, clock: Clock
) -> None:
    mail.rest()
    whole = clock.now
    assert whole == pytest.approx(MAX_PAUSE_SECONDS, abs=0.1)
    bells.ring(ANSWERS + "a")
    mail.rest()
    assert clock.now - whole < MAX_PAUSE_SECONDS / 2


def test_a_hospital_hears_of_its_question(mail: Mailbox, bells: Bells) -> None:
    before = {node.site: bells.rung(QUESTIONS + node.site) for node in NODES}
    assert all(before.values())
    mail.send(NODES[0], RecordDict(), seconds_left=60.0)
    after = {node.site: bells.rung(QUESTIONS + node.site) for node in NODES}
    assert [site for site in after if after[site] != before[site]] == [NODES[0].site]


def test_without_bells_every_look_is_at_everybody(clock: Clock, grid: SilentGrid) -> None:
    mail = Mailbox(grid=cast("Grid", grid), kind="train")
    for node in NODES:
        mail.send(node, RecordDict(), seconds_left=60.0)
    assert look(mail, grid) == ["a", "b"]
    mail.rest()
    assert clock.naps == 1
    assert look(mail, grid) == ["a", "b"]
