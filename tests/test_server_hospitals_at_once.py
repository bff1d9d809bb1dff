"""Who may leave a change before it is sent for: whoever's is too large for a message, and still of few bytes."""

from dataclasses import replace
from pathlib import Path

import pytest

from federation.config import Transport
from federation.encoding import Encoding
from federation.messages import BoxTicket, Instruction
from federation.stages import LocalTraining, LoraStage
from federation.wire.rounds import unpack_instruction
from server.blobs.builtin import BuiltinStore
from server.hospitals import AT_ONCE, Hospitals
from tests.toys.grid import FULL, FakeGrid, grid_of, hospitals_of, listen, trains

pytestmark = pytest.mark.usefixtures("clock", "inside_a_flower_task")

CHANGE_BYTES = 16
"""Of four values."""
ADAPTER = LoraStage(
    kind="lora",
    num_rounds=1,
    local=LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0),
    rank=1,
    alpha=1.0,
)


@pytest.fixture
def grid() -> FakeGrid:
    return grid_of(a=trains, b=trains)


@pytest.fixture
def hospitals(grid: FakeGrid, tmp_path: Path) -> Hospitals:
    """A change is too large for a message by a byte."""
    return within(replace(hospitals_of(grid, 2), blobs=BuiltinStore(tmp_path)), CHANGE_BYTES - 1)


def within(hospitals: Hospitals, inline_bytes: int, *, upload: Encoding = "fp32") -> Hospitals:
    transport = Transport(inline_bytes=inline_bytes, upload=upload)
    return replace(hospitals, study=replace(hospitals.study, transport=transport))


def given(
    hospitals: Hospitals, grid: FakeGrid, instruction: Instruction = FULL
) -> dict[str, BoxTicket | None]:
    """What each hospital's instruction holds."""
    listen(hospitals, instruction)
    return {site: unpack_instruction(message.content).box for site, message in grid.sent}


def test_every_hospital_may_open_a_box_of_its_own_for_as_many_bytes_as_its_change_has(
    hospitals: Hospitals, grid: FakeGrid
) -> None:
    boxes = given(hospitals, grid)
    assert {site: box and box.max_bytes for site, box in boxes.items()} == {"a": 16, "b": 16}
    links = {site: box.link.rpartition(".")[2] for site, box in boxes.items() if box}
    assert links == {"a": "a", "b": "b"}
    assert len({box.token for box in boxes.values() if box}) == 2


@pytest.mark.parametrize(
    ("inline_bytes", "is_given"),
    [
        (CHANGE_BYTES, False),  # it travels inside
        (CHANGE_BYTES - 1, True),
        (CHANGE_BYTES // AT_ONCE, True),
        (CHANGE_BYTES // AT_ONCE - 1, False),  # it is sent for once it is admitted
    ],
)
def test_neither_changes_inside_messages_nor_large_ones_are_left_at_once(
    hospitals: Hospitals, grid: FakeGrid, inline_bytes: int, *, is_given: bool
) -> None:
    boxes = given(within(hospitals, inline_bytes), grid)
    assert {site: box is not None for site, box in boxes.items()} == dict.fromkeys("ab", is_given)


def test_it_is_the_bytes_as_they_travel_that_count(hospitals: Hospitals, grid: FakeGrid) -> None:
    assert given(within(hospitals, CHANGE_BYTES - 1, upload="bf16"), grid) == {"a": None, "b": None}


@pytest.mark.parametrize(("stage", "is_given"), [(None, False), (ADAPTER, True)])
def test_where_the_coordinator_has_room_for_some_shards_alone_it_sends_for_them(
    hospitals: Hospitals, grid: FakeGrid, stage: LoraStage | None, *, is_given: bool
) -> None:
    hospitals.max_scratch = 2**30
    if stage is not None:
        above = replace(hospitals.study.model, start="0" * 64)
        hospitals.study = replace(hospitals.study, stages=(stage,), model=above)
    assert (given(hospitals, grid)["a"] is not None) == is_given


def test_where_nothing_travels_beside_messages_nobody_may_leave_anything(grid: FakeGrid) -> None:
    assert given(within(hospitals_of(grid, 2), CHANGE_BYTES - 1), grid) == {"a": None, "b": None}
