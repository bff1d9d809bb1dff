"""Having hospitals leave the shards of their updates, in whatever pieces their lines allow."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from flwr.app import Message

from federation.config import RoundRules
from federation.messages import Delivered, Delivery, DeliveryRequest, Refusal, RefusalCode
from federation.own_boxes import own_box
from federation.parcel import Parcel
from federation.wire.deliveries import pack_delivery_request, unpack_delivery
from federation.wire.header import ProtocolMismatch, Unreadable
from server.blobs.store import BlobStore
from server.collection import Came, Words
from server.mailbox import NOT_NOW, Mailbox, Node

LOOK_SECONDS = 2.0
"""Between two looks at what has arrived."""
SECONDS_TO_SPARE = 60.0
"""That a ticket outlives the patience with a hospital that sends nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boxes:
    """Where each hospital leaves its shards of one round."""

    store: BlobStore
    study_digest: str
    number: int
    parcels: Mapping[str, Parcel]
    """By site."""
    shards: Sequence[int]
    """Numbers of the shards that are wanted of each."""

    def open(self) -> None:
        """Let the shards come."""
        for site, parcel in self.parcels.items():
            self.store.open_box(self._name(site), parcel)

    def wanted(self, site: str) -> set[int]:
        """Those of a site: one with fewer shards has less to leave."""
        return {number for number in self.shards if number < len(self.parcels[site].sizes)}

    def missing(self, site: str) -> tuple[int, ...]:
        """Shards of a site that are not here yet."""
        here = self.store.arrived(self._name(site), self.parcels[site])
        return tuple(sorted(self.wanted(site) - here))

    def request(self, site: str, missing: tuple[int, ...], *, seconds: float) -> DeliveryRequest:
        """What a site is asked to leave."""
        parcel = self.parcels[site]
        ticket = self.store.leave_ticket(
            self._name(site), parcel, missing, site=site, seconds=seconds
        )
        return DeliveryRequest(
            study_digest=self.study_digest,
            round_number=self.number,
            parcel_digest=parcel.digest,
            shards=missing,
            ticket=ticket,
        )

    def _name(self, site: str) -> str:
        return box_name(self.study_digest, self.number, site, self.parcels[site])


def box_prefix(digest: str, number: int) -> str:
    """How the names of all boxes of a study's round begin."""
    return f"up.{digest[:12]}.{number:05d}."


def box_owner(digest: str, number: int, site: str) -> str:
    """The name under which a hospital's boxes of a round stand."""
    return f"{box_prefix(digest, number)}{site}"


def box_name(digest: str, number: int, site: str, parcel: Parcel) -> str:
    """The name of the box for one update: another update has another."""
    return own_box(box_owner(digest, number, site), parcel.digest)


@dataclass(kw_only=True, slots=True)
class _Wait:
    """How a hospital comes along."""

    missing: tuple[int, ...]
    """Shards that are not here."""
    moved: float = field(default_factory=time.monotonic)
    """When a shard last came, or the hospital was last told something new."""
    seen: float = field(default_factory=time.monotonic)
    """When it was last connected."""


def gather(boxes: Boxes, mail: Mailbox, rules: RoundRules, *, num_spare: int) -> Words:
    """Ask every hospital for what is missing, now; then, as the outcome is read, until all of it is here.

    A hospital is given up when nothing has come of it for the round's deadline or, as long as others suffice, when it
    has been away for the round's grace.

    Args:
        boxes: What is wanted.
        mail: For messages of kind ``query.deliver``.
        rules: The study's deadline and grace.
        num_spare: Hospitals that can be given up without losing the quorum.
    """
    boxes.open()
    waits = {site: _Wait(missing=boxes.missing(site)) for site in sorted(boxes.parcels)}
    _ask(boxes, mail, mail.online(), waits, rules)
    here = {site: boxes.wanted(site).difference(wait.missing) for site, wait in waits.items()}
    came = ((site, Came(shards=tuple(sorted(shards)))) for site, shards in here.items() if shards)
    return chain(came, _words(boxes, mail, rules, waits, num_spare=num_spare))


def _words(
    boxes: Boxes, mail: Mailbox, rules: RoundRules, waits: dict[str, _Wait], *, num_spare: int
) -> Words:
    next_look = 0.0
    while waits:
        online = mail.online()
        _ask(boxes, mail, online, waits, rules)
        heard = {
            site: _hear(mail, online[site]) for site in sorted(mail.waiting.keys() & online.keys())
        }
        if any(heard.values()) or time.monotonic() >= next_look:
            next_look = time.monotonic() + LOOK_SECONDS
            for site in list(waits):
                wait = waits[site]
                came = _look(boxes, site, wait, is_online=site in online)
                if came:
                    yield site, Came(shards=came)
                word = _word(boxes, site, wait, heard.get(site))
                word = word or _lost(wait, rules, may_be_lost=num_spare > 0)
                if word is not None:
                    num_spare -= isinstance(word, Refusal)
                    del waits[site]
                    mail.settle(site)
                    yield site, word
        if waits:
            mail.rest()


def _ask(
    boxes: Boxes,
    mail: Mailbox,
    online: Mapping[str, Node],
    waits: Mapping[str, _Wait],
    rules: RoundRules,
) -> None:
    """Ask whoever is connected and owes something."""
    for site in sorted(waits.keys() & online.keys()):
        if waits[site].missing and mail.is_due(online[site]):
            seconds = rules.deadline_seconds + SECONDS_TO_SPARE
            request = boxes.request(site, boxes.missing(site), seconds=seconds)
            mail.send(online[site], pack_delivery_request(request), seconds_left=seconds)


def _look(boxes: Boxes, site: str, wait: _Wait, *, is_online: bool) -> tuple[int, ...]:
    """Shards that came since the last look."""
    now, missing = time.monotonic(), boxes.missing(site)
    came = tuple(sorted(set(wait.missing) - set(missing)))
    if missing != wait.missing:
        wait.missing, wait.moved = missing, now
    if is_online:
        wait.seen = now
    return came


def _word(boxes: Boxes, site: str, wait: _Wait, heard: Delivery | None) -> Delivery | None:
    """A hospital's last word: everything is here, or it cannot come; None as long as neither is so."""
    if not wait.missing:
        return Delivered(parcel_digest=boxes.parcels[site].digest)
    if isinstance(heard, Refusal) and heard.code is not RefusalCode.TRANSFER:
        return heard
    return None


def _lost(wait: _Wait, rules: RoundRules, *, may_be_lost: bool) -> Refusal | None:
    """The refusal for a hospital that is waited for no longer."""
    now = time.monotonic()
    is_away = now - wait.seen > rules.grace_seconds
    if now - wait.moved > rules.deadline_seconds or (is_away and may_be_lost):
        reason = f"{len(wait.missing)} shards of its change did not come"
        return Refusal(code=RefusalCode.NO_ANSWER, reason=reason)
    return None


def _hear(mail: Mailbox, node: Node) -> Delivery | None:
    """What a hospital answered, if anything; without an answer that settles it, it is asked again."""
    answers = [_read(mail, node.site, reply) for reply in mail.replies(node.site)]
    answer = next((answer for answer in answers if answer is not None), None)
    if isinstance(answer, Refusal) and answer.code in NOT_NOW:
        mail.let_rest(node)
        return None
    return answer


def _read(mail: Mailbox, site: str, reply: Message) -> Delivery | None:
    if reply.has_error():
        reason = mail.obituary(site, reply)
        return Refusal(code=RefusalCode.NO_ANSWER, reason=reason) if reason else None
    try:
        return unpack_delivery(reply.content)
    except ProtocolMismatch as err:
        return Refusal(code=RefusalCode.PROTOCOL, reason=str(err))
    except Unreadable as err:
        return Refusal(code=RefusalCode.UNREADABLE, reason=str(err))
