"""One message to each connected hospital over Flower's grid, and what comes back.

Replies are pulled one at a time and only from hospitals that are connected: pulling from an absent one makes
Flower give up its reply for good. A hospital that came back after a restart is asked again, because
Flower's message died with its SuperNode; it answers from disk if it had finished.

Every pull costs the SuperLink a look into its database, so a hospital is looked at when its bell has rung
(`federation.bells`), and now and then in any case.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from federation.bells import ANSWERS, LOOK_SECONDS, QUESTIONS, Bells
from federation.messages import RefusalCode

MIN_PAUSE_SECONDS = 0.3
MAX_PAUSE_SECONDS = 2.0
PAUSE_SECONDS = 0.05
"""For each hospital that is waited for, where there are no bells."""
SILENT_SECONDS = 10.0
"""A hospital whose bell does not ring is looked at so often all the same."""
ASK_AGAIN_SECONDS = 1800.0
"""A connected hospital that is silent this long is asked again."""
MAX_DEATHS = 2
"""Processes a hospital may lose over one message before it is left out."""
SECONDS_TO_SPARE = 60.0
NOT_NOW = frozenset({RefusalCode.UNAPPROVED, RefusalCode.PAUSED})
"""What a hospital says that may take part later; nobody has to do anything at the coordinator."""
FIRST_REST_SECONDS, MAX_REST_SECONDS = 1.0, 60.0
"""Pause before a hospital that said "not now" is asked again; it doubles each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One connected hospital, as Flower sees it."""

    site: str
    node_id: int
    activation: str
    """Changes whenever the hospital's SuperNode starts anew."""


@dataclass(kw_only=True, slots=True)
class Waiting:
    """A message that a hospital has not answered yet."""

    node: Node
    message_ids: list[str]
    asked: float
    looked: float
    """When its answer was last looked for."""
    bell: int
    """How its bell stood then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rest:
    """How long a hospital that said "not now" is left alone."""

    until: float
    seconds: float
    activation: str
    """Of the node that said so; one that starts anew is asked at once."""


@dataclass(kw_only=True, slots=True)
class Mailbox:
    """Messages of one kind, until every hospital is settled."""

    grid: Grid
    kind: str
    """Flower's type of the messages: ``train``, or ``query.`` with a name."""
    names: dict[int, str] = field(default_factory=dict)
    """Names of nodes that Flower knows no name for (simulation engine)."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    resting: dict[str, Rest] = field(default_factory=dict)
    """Hospitals that said "not now" and have not said anything else since."""
    bells: Bells | None = None
    """None where no gateway stands between the hospitals and here."""

    def online(self) -> dict[str, Node]:
        """Connected hospitals by name."""
        nodes = {}
        infos = sorted(self.grid.get_nodes(), key=lambda info: info.last_activated_at or "")
        for info in infos:  # of two nodes under one name, the one that came last
            site = info.name or self._ask_name(info.node_id)
            nodes[site] = Node(
                site=site, node_id=info.node_id, activation=info.last_activated_at or ""
            )
        return nodes

    def is_due(self, node: Node) -> bool:
        """Whether a connected, unsettled hospital has to be asked (again)."""
        waiting, rest = self.waiting.get(node.site), self.resting.get(node.site)
        if waiting is None:
            return (
                rest is None or rest.activation != node.activation or time.monotonic() >= rest.until
            )
        silent = time.monotonic() - waiting.asked > ASK_AGAIN_SECONDS
        return silent or waiting.node.activation != node.activation

    def send(self, node: Node, content: RecordDict, *, seconds_left: float) -> None:
        """Ask one hospital; what it may have been asked before is still heard."""
        ttl = seconds_left + SECONDS_TO_SPARE
        ids = list(self.grid.push_messages([Message(content, node.node_id, self.kind, ttl=ttl)]))
        earlier = self.waiting[node.site].message_ids if node.site in self.waiting else []
        now, bell = time.monotonic(), self._bell(node.site)
        self.waiting[node.site] = Waiting(
            node=node, message_ids=[*earlier, *ids], asked=now, looked=now, bell=bell
        )
        if self.bells is not None:
            self.bells.ring(QUESTIONS + node.site)

    def replies(self, site: str) -> Iterator[Message]:
        """What has come from a hospital; once nothing more can come, it counts as not asked."""
        waiting = self.waiting[site]
        if not self._may_have_come(waiting):
            return
        waiting.looked, waiting.bell = time.monotonic(), self._bell(site)  # before the look
        for message_id in list(waiting.message_ids):
            for reply in self.grid.pull_messages([message_id]):
                waiting.message_ids.remove(message_id)
                yield reply
        if not waiting.message_ids:
            del self.waiting[site]

    def settle(self, site: str) -> None:
        """Wait for a hospital no longer."""
        self.waiting.pop(site, None)
        self.resting.pop(site, None)

    def let_rest(self, node: Node) -> None:
        """Leave a hospital alone that said "not now", each time twice as long."""
        before = self.resting.get(node.site)
        seconds = min(2 * before.seconds, MAX_REST_SECONDS) if before else FIRST_REST_SECONDS
        until = time.monotonic() + seconds
        self.resting[node.site] = Rest(until=until, seconds=seconds, activation=node.activation)

    def obituary(self, site: str, reply: Message) -> str | None:
        """Why a hospital whose process died is left out; None if it may be asked once more."""
        self.deaths[site] = self.deaths.get(site, 0) + 1
        if self.deaths[site] < MAX_DEATHS:
            return None
        return f"its process ended without an answer (Flower code {reply.error.code})"

    def rest(self) -> None:
        """Wait until something may have come."""
        if self.bells is None:
            time.sleep(max(MIN_PAUSE_SECONDS, PAUSE_SECONDS * len(self.waiting)))
            return
        time.sleep(MIN_PAUSE_SECONDS)
        end = time.monotonic() + MAX_PAUSE_SECONDS - MIN_PAUSE_SECONDS
        while time.monotonic() < end and not any(map(self._may_have_come, self.waiting.values())):
            time.sleep(LOOK_SECONDS)

    def _may_have_come(self, waiting: Waiting) -> bool:
        is_late = time.monotonic() - waiting.looked > SILENT_SECONDS
        return self.bells is None or is_late or self._bell(waiting.node.site) != waiting.bell

    def _bell(self, site: str) -> int:
        return self.bells.rung(ANSWERS + site) if self.bells is not None else 0

    def _ask_name(self, node_id: int) -> str:
        """The name of a node of the simulation engine, asked once."""
        if node_id not in self.names:
            message = Message(RecordDict(), node_id, "query.name")
            (reply,) = self.grid.send_and_receive([message])
            self.names[node_id] = str(reply.content.config_records["site"]["name"])
        return self.names[node_id]
