"""Having shards left: who is asked for what, and who is given up; with a mailbox and a clock that the test moves."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Message, RecordDict

import server.deliveries
from federation.config import RoundRules
from federation.messages import Delivered, Delivery, Refusal, RefusalCode, Ticket
from federation.parcel import Parcel, pack_inline
from federation.wire.deliveries import pack_delivery, unpack_delivery_request
from model.tensors import InMemory
from server.blobs.store import BlobStore
from server.collection import Came
from server.deliveries import LOOK_SECONDS, Boxes, box_name, gather
from server.mailbox import Mailbox, Node

STUDY = "ab" * 32
PARCEL: Parcel = pack_inline(
    InMemory({"w": np.arange(40, dtype=np.float32)}), "fp32", shard_values=8
)[0]
NUM_SHARDS = 5
RULES = RoundRules(num_sites=2, min_sites=1, deadline_seconds=1000.0, grace_seconds=100.0)
Obey = Callable[[str, Sequence[int]], Delivery | None]


@dataclass
class Shelf:
    """Boxes as sets of numbers."""

    boxes: dict[str, set[int]] = field(default_factory=dict)

    def open_box(self, space: str, parcel: Parcel) -> None:
        """What is there stays."""
        assert parcel == PARCEL
        self.boxes.setdefault(space, set())

    def leave_ticket(
        self, space: str, parcel: Parcel, shards: Sequence[int], *, site: str, seconds: float
    ) -> Ticket:
        """Good for the deadline and a little longer."""
        assert parcel == PARCEL
        assert f".{site}." in space
        assert seconds > RULES.deadline_seconds
        return Ticket(links=tuple(f"/{space}/{n}" for n in shards), token="", expires=1)

    def arrived(self, space: str, parcel: Parcel) -> frozenset[int]:
        """As they were left."""
        assert parcel == PARCEL
        return frozenset(self.boxes[space])


@dataclass
class Post:
    """Hospitals as functions: told what is wanted, they leave it or not, and answer or not."""

    shelf: Shelf
    behaviour: dict[str, Obey]
    connected: set[str]
    waiting: dict[str, list[Message]] = field(default_factory=dict)
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def online(self) -> dict[str, Node]:
        """Connected hospitals."""
        return {s: Node(site=s, node_id=1, activation="") for s in sorted(self.connected)}

    def is_due(self, node: Node) -> bool:
        """Asked again once its word was heard."""
        return node.site not in self.waiting

    def send(self, node: Node, content: RecordDict, *, seconds_left: float) -> None:
        """The hospital acts at once; its answer waits."""
        assert node.site in self.connected
        assert seconds_left > RULES.deadline_seconds
        request = unpack_delivery_request(content)
        assert (request.study_digest, request.parcel_digest) == (STUDY, PARCEL.digest)
        self.asked.append((node.site, request.shards))
        word = self.behaviour[node.site](node.site, request.shards)
        packed = [] if word is None else [cast("Message", _Reply(pack_delivery(word)))]
        self.waiting[node.site] = packed

    def rest(self) -> None:
        """Some time passes."""
        server.deliveries.time.sleep(1.0)  # type: ignore[attr-defined]  # the clock of this file

    def replies(self, site: str) -> Iterator[Message]:
        """The answer, once."""
        yield from self.waiting.pop(site) if self.waiting[site] else ()

    def settle(self, site: str) -> None:
        """No longer."""
        self.waiting.pop(site, None)


@dataclass
class _Reply:
    content: RecordDict

    def has_error(self) -> bool:
        return False


@dataclass
class Clock:
    """Passes while somebody sleeps."""

    began: float = field(default_factory=time.monotonic)
    now: float = 0.0
    events: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def sleep(self, _: float) -> None:
        """Five seconds, and what happens meanwhile."""
        self.now += 5.0
        for event in [event for event in self.events if event[0] <= self.now]:
            self.events.remove(event)
            event[1]()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    moved = SimpleNamespace(monotonic=lambda: fake.began + fake.now, sleep=fake.sleep)
    monkeypatch.setattr("server.deliveries.time", moved)
    assert LOOK_SECONDS < 5.0
    return fake


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def space(site: str) -> str:
    return box_name(STUDY, 3, site, PARCEL)


def leaves(shelf: Shelf, *, at_most: int = NUM_SHARDS, word: bool = True) -> Obey:
    """A hospital that leaves some of what it is asked for."""

    def obey(site: str, shards: Sequence[int]) -> Delivery | None:
        shelf.boxes[space(site)] |= set(shards[:at_most])
        return Delivered(parcel_digest=PARCEL.digest) if word else None

    return obey


def refuses(code: RefusalCode) -> Obey:
    return lambda site, shards: Refusal(code=code, reason="words")


def words(
    shelf: Shelf, post: Post, *, shards: Sequence[int] = range(NUM_SHARDS), num_spare: int = 0
) -> list[tuple[str, Any]]:
    boxes = Boxes(
        store=cast("BlobStore", shelf),
        study_digest=STUDY,
        number=3,
        parcels=dict.fromkeys(post.behaviour, PARCEL),
        shards=shards,
    )
    return list(gather(boxes, cast("Mailbox", post), RULES, num_spare=num_spare))


def settled(found: list[tuple[str, Any]]) -> dict[str, Any]:
    return {site: word for site, word in found if not isinstance(word, Came)}


def post_of(shelf: Shelf, **behaviour: Obey) -> Post:
    """Hospitals that are all connected."""
    return Post(shelf=shelf, behaviour=behaviour, connected=set(behaviour))


def test_every_hospital_is_asked_for_its_shards_before_anything_is_waited_for(
    shelf: Shelf, clock: Clock
) -> None:
    post = post_of(shelf, a=leaves(shelf), b=leaves(shelf))
    found = words(shelf, post)
    assert post.asked == [("a", (0, 1, 2, 3, 4)), ("b", (0, 1, 2, 3, 4))]
    assert settled(found) == dict.fromkeys("ab", Delivered(parcel_digest=PARCEL.digest))
    assert [word.shards for _, word in found if isinstance(word, Came)] == [(0, 1, 2, 3, 4)] * 2
    assert clock.now == 0.0


def test_what_is_here_already_is_told_at_once_and_not_asked_for_again(shelf: Shelf) -> None:
    shelf.boxes[space("a")] = {0, 1, 3}
    shelf.boxes[space("b")] = set(range(NUM_SHARDS))
    post = post_of(shelf, a=leaves(shelf), b=leaves(shelf))
    found = words(shelf, post)
    assert found[:2] == [("a", Came(shards=(0, 1, 3))), ("b", Came(shards=(0, 1, 2, 3, 4)))]
    assert settled(found).keys() == {"a", "b"}
    assert post.asked == [("a", (2, 4))]


def test_only_the_shards_of_the_batch_are_asked_for(shelf: Shelf) -> None:
    post = post_of(shelf, a=leaves(shelf))
    words(shelf, post, shards=(2, 3))
    assert post.asked == [("a", (2, 3))]


def test_a_hospital_that_says_it_has_delivered_is_believed_when_everything_is_here(
    shelf: Shelf,
) -> None:
    post = post_of(shelf, a=leaves(shelf, at_most=2))
    found = words(shelf, post)
    assert post.asked == [("a", (0, 1, 2, 3, 4)), ("a", (2, 3, 4)), ("a", (4,))]
    assert settled(found) == {"a": Delivered(parcel_digest=PARCEL.digest)}
    assert [word.shards for _, word in found if isinstance(word, Came)] == [(0, 1), (2, 3), (4,)]


def test_shards_that_are_here_need_no_word(shelf: Shelf) -> None:
    post = post_of(shelf, a=leaves(shelf, word=False))
    assert settled(words(shelf, post)) == {"a": Delivered(parcel_digest=PARCEL.digest)}


def test_a_line_that_fails_is_tried_again_with_a_new_ticket(shelf: Shelf) -> None:
    tries: list[int] = []

    def fails_first(site: str, shards: Sequence[int]) -> Delivery | None:
        tries.append(len(shards))
        obey = refuses(RefusalCode.TRANSFER) if len(tries) == 1 else leaves(shelf)
        return obey(site, shards)

    assert isinstance(settled(words(shelf, post_of(shelf, a=fails_first)))["a"], Delivered)
    assert tries == [5, 5]


def test_a_hospital_that_does_not_have_the_update_is_taken_at_its_word(shelf: Shelf) -> None:
    post = post_of(shelf, a=refuses(RefusalCode.NOT_KEPT), b=leaves(shelf))
    found = settled(words(shelf, post))
    assert found["a"] == Refusal(code=RefusalCode.NOT_KEPT, reason="words")
    assert isinstance(found["b"], Delivered)
    assert len(post.asked) == 2


def test_without_others_that_suffice_an_absent_hospital_is_waited_for_until_the_deadline(
    shelf: Shelf, clock: Clock
) -> None:
    post = post_of(shelf, a=leaves(shelf))
    post.connected = set()
    found = settled(words(shelf, post))
    assert found["a"].code == RefusalCode.NO_ANSWER
    assert found["a"].reason == "5 shards of its change did not come"
    assert 1000.0 <= clock.now <= 1010.0


def test_with_others_that_suffice_an_absent_hospital_is_given_up_after_the_grace(
    shelf: Shelf, clock: Clock
) -> None:
    post = post_of(shelf, a=leaves(shelf), b=leaves(shelf), c=leaves(shelf))
    post.connected = {"b"}
    clock.events.append((400.0, lambda: post.connected.add("c")))
    found = settled(words(shelf, post, num_spare=1))
    assert found["a"].code == RefusalCode.NO_ANSWER
    assert isinstance(found["c"], Delivered)  # one could be spared, not two
    assert 400.0 <= clock.now <= 410.0


def test_a_hospital_that_comes_back_goes_on_where_it_was(shelf: Shelf, clock: Clock) -> None:
    post = post_of(shelf, a=leaves(shelf, at_most=2))
    clock.events.append((50.0, lambda: post.connected.add("a")))
    clock.events.append((50.0, lambda: shelf.boxes[space("a")].update({4})))
    post.connected = set()
    found = settled(words(shelf, post, num_spare=1))
    assert isinstance(found["a"], Delivered)
    assert post.asked == [("a", (0, 1, 2, 3)), ("a", (2, 3))]


def test_a_slow_hospital_is_waited_for_as_long_as_something_comes(
    shelf: Shelf, clock: Clock
) -> None:
    post = post_of(shelf, a=lambda site, shards: None)
    for number in range(NUM_SHARDS):
        clock.events.append(
            (900.0 * (number + 1), lambda n=number: shelf.boxes[space("a")].add(n))  # type: ignore[misc]
        )
    assert isinstance(settled(words(shelf, post))["a"], Delivered)
    assert clock.now >= 4500.0
