"""The last door: while the hospital takes no part, its node sends nothing but refusals, whatever was ready to go.

What was on its way when the door closed is cut by ending the node, which its supervisor starts anew; the coordinator
asks again, and gets the refusal. Bytes that the system still held are dropped.
"""

import importlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_object_type_from_object_content,
    iterate_object_tree,
)
from flwr.supercore.object_store import ObjectStore
from flwr.supernode.nodestate import NodeState

from client.control.gate import Gate
from client.control.watch import cut_all_connections
from client.flower_names import replace_name
from federation.wire.header import Header, ProtocolMismatch, Unreadable, header_of, refusal_in

logger = logging.getLogger("client.node_launcher")

CUT = 77
"""Exit code when an answer was on its way as the door closed: the supervisor starts anew."""
FETCH_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""For the parts of a reply, which come right after it is announced."""

Send = Callable[[Message, ObjectTree, float], tuple[set[str], str]]
Push = Callable[[int, str, str, bytes], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a reply is, as far as the door has to know."""

    is_refusal: bool
    study_digest: str
    """Empty where it names no study."""


class LastDoor:
    """Stands between Flower's loop and its connection."""

    def __init__(self, gate: Gate, end: Callable[[], None]) -> None:
        self._gate, self._end = gate, end
        self._on_its_way: Reply | None = None

    def is_to_be_cut(self) -> bool:
        """Whether something is on its way that may not leave any more."""
        reply = self._on_its_way
        if reply is None or reply.is_refusal:
            return False
        return self._gate.closed(reply.study_digest) is not None

    def let_through(self, reply: Reply) -> None:
        """Let a reply begin its way, or end the node."""
        self._on_its_way = reply
        if self.is_to_be_cut():
            self._end()

    def has_passed(self) -> None:
        """Nothing is on its way."""
        self._on_its_way = None


def guard_last_door(gate: Gate) -> LastDoor:
    """Have every reply of Flower's node pass the door, from now until this process ends.

    Raises:
        FlowerChanged: this release of Flower sends in another way.
    """
    door = LastDoor(gate, end_node)
    loop = importlib.import_module("flwr.supernode.start_client_internal")
    replace_name(loop, "_push_messages", lambda original: _guarded(original, door))
    return door


def end_node() -> None:
    """End this process, and drop everything that its connections hold."""
    logger.warning("an answer was cut on its way: the hospital takes no part any more")
    logging.shutdown()
    cut_all_connections()
    os._exit(CUT)


def _guarded(original: Callable[..., None], door: LastDoor) -> Callable[..., None]:
    def _push_messages(
        *, state: NodeState, object_store: ObjectStore, send: Send, push_object: Push
    ) -> None:
        def send_through_door(
            message: Message, tree: ObjectTree, runtime: float
        ) -> tuple[set[str], str]:
            door.let_through(_what_is(message, tree, object_store))
            return send(message, tree, runtime)

        try:
            original(
                state=state,
                object_store=object_store,
                send=send_through_door,
                push_object=push_object,
            )
        finally:
            door.has_passed()

    return _push_messages


def _what_is(message: Message, tree: ObjectTree, store: ObjectStore) -> Reply:
    """Look into a reply; one that cannot be understood is none that may pass a closed door."""
    if message.has_error():
        return Reply(is_refusal=True, study_digest="")
    deadline = time.monotonic() + PATIENCE_SECONDS
    contents = (_content(each.object_id, store, deadline) for each in iterate_object_tree(tree))
    header = next(filter(None, map(_header, filter(None, contents))), {})
    return Reply(
        is_refusal=refusal_in(header) is not None,
        study_digest=str(header.get("study_digest", "")),
    )


def _content(object_id: str, store: ObjectStore, deadline: float) -> bytes:
    """A part of a reply; empty if it is gone, or does not come: whoever wrote it may have died over it."""
    while (content := store.get(object_id)) == b"" and time.monotonic() < deadline:
        time.sleep(FETCH_SECONDS)
    return content or b""


def _header(content: bytes) -> Header | None:
    """The header that a part of a reply is; None for other parts."""
    if get_object_type_from_object_content(content) != ConfigRecord.__name__:
        return None
    try:
        return header_of(RecordDict({"header": ConfigRecord.inflate(content)}))
    except (ProtocolMismatch, Unreadable):
        return None
