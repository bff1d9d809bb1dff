"""While the hospital takes no part, its node sends refusals and nothing else, whatever was ready to go."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.nodestate import NodeStateFactory

from client.control import last_door
from client.control.gate import Gate
from client.control.last_door import guard_last_door
from client.control.orders import Orders, change_orders, order
from client.control.watch import watching
from federation.messages import Refusal, RefusalCode, Update
from federation.parcel import pack
from federation.wire.rounds import pack_answer
from model.tensors import InMemory

LOOP = importlib.import_module("flwr.supernode.start_client_internal")
STUDY = "a" * 64
PAUSED = Orders(paused=order("ann"))
REFUSAL = Refusal(code=RefusalCode.PAUSED, reason="paused")


class Ended(BaseException):
    """The node's process would be over."""


class Coordinator:
    """Takes what a node sends."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.announced = 0
        self.objects: list[bytes] = []
        self._during = during

    def send(self, _: Message, tree: ObjectTree, __: float) -> tuple[set[str], str]:
        """Hear of a reply, and ask for all of it."""
        self.announced += 1
        return {each.object_id for each in iterate_object_tree(tree)}, "session"

    def push(self, _: int, __: str, ___: str, content: bytes) -> None:
        """Get a part of it."""
        self._during()
        self.objects.append(content)


@pytest.fixture(autouse=True)
def _a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages in the name of a task, and its loop is as it was afterwards."""
    monkeypatch.setattr(LOOP, "_push_messages", LOOP._push_messages)  # noqa: SLF001
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def update(tmp_path: Path) -> Update:
    values = np.ones(1000, np.float32)
    change = pack(tmp_path / "change", InMemory({"w": values}), "fp32", shard_values=1000)
    return Update(
        study_digest=STUDY,
        round_number=1,
        received_digest=STUDY,
        change=change,
        content=(tmp_path / "change").read_bytes(),
        norm=1.0,
        num_steps=1,
        loss=1.0,
        held_out_loss=1.0,
        seconds=1.0,
        num_records=0,
        num_files=0,
    )


def through_the_door(state: Path, content: RecordDict | Error, to: Coordinator) -> None:
    """One reply on Flower's own way out of a hospital."""
    asked = Message(RecordDict(), 1, "train")
    asked.metadata.__dict__["_message_id"] = "m"
    reply = Message(content, reply_to=asked)
    objects = ObjectStoreFactory()
    node = NodeStateFactory(objects).state()
    node.record_message_processing_start("m")
    node.record_message_processing_end("m")
    LOOP._insert_message(reply, node, objects.store())  # noqa: SLF001
    guard_last_door(Gate(state_path=state))
    LOOP._push_messages(  # noqa: SLF001
        state=node, object_store=objects.store(), send=to.send, push_object=to.push
    )


@pytest.fixture(autouse=True)
def _ends_with_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of ending this process."""

    def end() -> None:
        raise Ended

    monkeypatch.setattr(last_door, "end_node", end)


def test_an_open_door_lets_everything_through(tmp_path: Path, update: Update) -> None:
    to = Coordinator()
    through_the_door(tmp_path, pack_answer(update), to)
    assert update.content is not None
    assert any(update.content in each for each in to.objects)


@pytest.mark.parametrize(
    "orders", [PAUSED, Orders(stopped=order("ann")), Orders(withdrawn={STUDY: order("ann")})]
)
def test_an_update_that_was_ready_does_not_leave_through_a_closed_door(
    tmp_path: Path, update: Update, orders: Orders
) -> None:
    change_orders(tmp_path, lambda _: orders)
    to = Coordinator()
    with pytest.raises(Ended):
        through_the_door(tmp_path, pack_answer(update), to)
    assert (to.announced, to.objects) == (0, [])


def test_an_update_of_another_study_than_the_one_that_was_left_may_go(
    tmp_path: Path, update: Update
) -> None:
    change_orders(tmp_path, lambda _: Orders(withdrawn={"b" * 64: order("ann")}))
    to = Coordinator()
    through_the_door(tmp_path, pack_answer(update), to)
    assert to.announced == 1


@pytest.mark.parametrize("content", [pack_answer(REFUSAL), Error(code=8, reason="gone")])
def test_a_refusal_passes_a_closed_door(tmp_path: Path, content: RecordDict | Error) -> None:
    change_orders(tmp_path, lambda _: PAUSED)
    to = Coordinator()
    through_the_door(tmp_path, content, to)
    assert to.announced == 1


def test_what_the_door_cannot_read_does_not_pass_while_it_is_closed(tmp_path: Path) -> None:
    change_orders(tmp_path, lambda _: PAUSED)
    with pytest.raises(Ended):
        through_the_door(tmp_path, RecordDict(), Coordinator())


@pytest.mark.parametrize("part", [None, b""])
def test_a_reply_whose_parts_are_gone_or_never_come_holds_nobody_up_and_passes_no_closed_door(
    tmp_path: Path, update: Update, monkeypatch: pytest.MonkeyPatch, part: bytes | None
) -> None:
    monkeypatch.setattr(last_door, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(InMemoryObjectStore, "get", lambda *_: part)
    change_orders(tmp_path, lambda _: PAUSED)
    to = Coordinator()
    with pytest.raises(Ended):
        through_the_door(tmp_path, pack_answer(update), to)
    assert to.announced == 0


def test_a_door_that_closes_while_an_update_passes_asks_for_the_end_at_once(
    tmp_path: Path, update: Update
) -> None:
    door = last_door.LastDoor(Gate(state_path=tmp_path), lambda: None)
    told = list[float]()
    with watching(door.is_to_be_cut, lambda: told.append(time.monotonic())):
        door.let_through(last_door.Reply(is_refusal=False, study_digest=update.study_digest))
        change_orders(tmp_path, lambda _: PAUSED)
        closed = time.monotonic()
        while not told and time.monotonic() < closed + 5.0:
            time.sleep(0.01)
        assert told[0] - closed < 1.0
        door.has_passed()
    assert not door.is_to_be_cut()
