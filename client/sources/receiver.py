"""Lets a PACS push radiographs with C-STORE (PS3.4 annex B), until stopped.

Whatever is taken is on the disk, as it was encoded by the sender, before the sender is told so.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import VerificationPresentationContexts, build_context

from client.config import Receiver, SiteConfig
from client.sources.inbox import HEAD_BYTES, Inbox, Sent, Status
from client.sources.kinds import PICTURE_SYNTAXES, PLAIN_SYNTAXES, RADIOGRAPHS, REPORTS
from client.sources.listener import STALL_SECONDS, addresses_of, listening, plain_address
from client.sources.quiet import keep_quiet
from client.sources.received import received_path, remove_drafts
from federation.files import hold_lock, make_private_folder
from privacy.patient import load_or_create_secret

Tell = Callable[[Mapping[str, object], str], None]
"""Called with the facts of an event, and a line that tells them to a person."""

MAX_ASSOCIATIONS = 4
_NEGOTIATION_SECONDS = 30.0
_PDU_BYTES = 2**17
_HEADER_ALLOWANCE_BYTES = 2**20
_MAX_REFUSALS_TOLD = 100
_REJECTED, _BY_US, _CALLER_UNKNOWN, _CALLED_UNKNOWN = 0x01, 0x01, 0x03, 0x07


class NoReceiver(ValueError):
    """The hospital's profile does not say who may send."""

    def __init__(self) -> None:
        super().__init__(
            "The hospital's profile has no `receiver`: the data manager adds one, with the machines that may "
            "send as its `peers`, and types the same command again."
        )


def receive(site: SiteConfig, *, stop: threading.Event, tell: Tell) -> None:
    """Keep what the configured machines push until ``stop`` is set.

    Raises:
        NoReceiver: the profile does not ask for one.
        AlreadyRunning: another process receives into the same state folder.
        AddressUnknown, CannotListen: the profile's hosts or port cannot be used.
        SecretUnusable: the hospital's secret is damaged.
    """
    if site.receiver is None:
        raise NoReceiver
    keep_quiet("pynetdicom")
    state = make_private_folder(site.state_path.resolve())
    spool = make_private_folder(received_path(state))
    with hold_lock(spool / ".lock"):
        remove_drafts(spool)
        inbox = Inbox(
            spool,
            secret=load_or_create_secret(state / "patient.secret"),
            max_waiting_bytes=site.receiver.max_waiting_bytes,
        )
        max_bytes = site.reading.max_file_bytes + _HEADER_ALLOWANCE_BYTES
        _serve(site.receiver, _Desk(site.receiver, inbox, max_bytes, tell), stop)
    tell({"state": "stopped"}, "stopped")


def _serve(receiver: Receiver, desk: "_Desk", stop: threading.Event) -> None:
    with listening(
        _entity(receiver),
        receiver.host,
        receiver.port,
        known=desk.known,
        on_stranger=desk.turn_away,
        handlers=desk.handlers,
    ):
        desk.tell(
            {"state": "listening", "ae_title": receiver.ae_title, "port": receiver.port},
            f"waiting for radiographs as {receiver.ae_title} on {receiver.host}:{receiver.port}",
        )
        stop.wait()


def _entity(receiver: Receiver) -> AE:
    entity = AE(receiver.ae_title)
    entity.maximum_associations = MAX_ASSOCIATIONS
    entity.maximum_pdu_size = _PDU_BYTES
    entity.acse_timeout = entity.dimse_timeout = _NEGOTIATION_SECONDS
    entity.network_timeout = STALL_SECONDS
    # One context for each kind, with all its encodings: an entity may have no more than 128.
    entity.supported_contexts = [
        *VerificationPresentationContexts,
        *(build_context(kind, list(PICTURE_SYNTAXES)) for kind in RADIOGRAPHS),
        *(build_context(kind, list(PLAIN_SYNTAXES)) for kind in REPORTS),
    ]
    return entity


@dataclass(slots=True)
class _Guest:
    """A machine that is connected, and what became of what it sent."""

    title: str
    answers: Counter[Status]


class _Desk:
    """Answers what associations ask, and keeps count of what each has brought."""

    def __init__(self, receiver: Receiver, inbox: Inbox, max_bytes: int, tell: Tell) -> None:
        self.tell = tell
        self._ae_title = receiver.ae_title
        self._addresses = [(peer.ae_title, addresses_of(peer.host)) for peer in receiver.peers]
        self._inbox = inbox
        self._max_bytes = max_bytes
        self._guests: dict[Association, _Guest] = {}
        self._turned_away: set[tuple[str, str]] = set()

    @property
    def known(self) -> frozenset[str]:
        """Addresses of all peers."""
        return frozenset().union(*(addresses for _, addresses in self._addresses))

    @property
    def handlers(self) -> list[EventHandlerType]:
        """What to do when."""
        return [
            (evt.EVT_REQUESTED, self._screen),
            (evt.EVT_PDU_RECV, self._limit),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, self._say_what_came),
        ]

    def turn_away(self, address: str, why: str = "it is none of the `peers`") -> None:
        """Tell that a machine was refused; once, or somebody could flood the log."""
        if (address, why) in self._turned_away or len(self._turned_away) >= _MAX_REFUSALS_TOLD:
            return
        self._turned_away.add((address, why))
        self.tell(
            {"state": "refused", "address": address, "reason": why},
            f"refused a machine at {address}: {why}",
        )

    def _screen(self, event: Event) -> None:
        """Let in who asks for us by our title and calls by the title, and from the address, of one peer."""
        association = event.assoc
        request = cast("A_ASSOCIATE", association.requestor.primitive)
        address = plain_address(association.requestor.address or "")
        caller = request.calling_ae_title.strip()
        if not any(caller == peer and address in places for peer, places in self._addresses):
            self._reject(association, _CALLER_UNKNOWN)
            self.turn_away(address, "no peer at this address has the AE title it gives as its own")
        elif request.called_ae_title.strip() != self._ae_title:
            self._reject(association, _CALLED_UNKNOWN)
            self.turn_away(address, f"it calls us by another AE title than {self._ae_title}")
        else:
            _prefer_what_is_named_first(association, request)
            self._guests[association] = _Guest(title=caller, answers=Counter())

    @staticmethod
    def _reject(association: Association, reason: int) -> None:
        association.acse.send_reject(_REJECTED, _BY_US, reason)
        association.kill()

    def _limit(self, event: Event) -> None:
        """Hang up on a sender whose instance does not end: it is collected in memory."""
        message = event.assoc.dimse.message
        collected = message.data_set if message else None
        if isinstance(collected, BytesIO) and collected.tell() > self._max_bytes:
            event.assoc.abort()

    def _store(self, event: Event) -> int:
        # A caller that was not let in has no place here; pynetdicom turns the error into a failure.
        guest = self._guests[event.assoc]
        answer = self._inbox.take(_sent(event))
        guest.answers[answer] += 1
        return answer

    def _say_what_came(self, event: Event) -> None:
        guest = self._guests.pop(event.assoc, None)
        if guest is None or not guest.answers:
            return
        facts = {
            "stored": guest.answers[Status.STORED],
            "put_off": guest.answers[Status.OUT_OF_RESOURCES],
            "refused": guest.answers[Status.OTHER_KIND] + guest.answers[Status.NOT_UNDERSTOOD],
        }
        self.tell(
            {"state": "received", "peer": guest.title, **facts}, _sentence(guest.title, **facts)
        )


def _prefer_what_is_named_first(association: Association, request: A_ASSOCIATE) -> None:
    """Take each kind in the encoding that the sender names first, which should be the one it is stored in.

    Some senders offer more encodings than they are able to convert to.
    """
    for context in association.acceptor.supported_contexts:
        offered = [
            syntax
            for proposal in request.presentation_context_definition_list
            if proposal.abstract_syntax == context.abstract_syntax
            for syntax in proposal.transfer_syntax
        ]
        rank = {syntax: -place for place, syntax in enumerate(reversed(offered))}
        context.transfer_syntax.sort(key=lambda syntax: rank.get(syntax, 1))


def _sent(event: Event) -> Sent:
    request = cast("C_STORE", event.request)
    return Sent(
        kind=str(request.AffectedSOPClassUID or ""),
        instance_uid=str(request.AffectedSOPInstanceUID or ""),
        transfer_syntax=event.context.transfer_syntax,
        head=event.encoded_dataset(include_meta=False)[:HEAD_BYTES],
        file=event.encoded_dataset(),
    )


def _sentence(title: str, *, stored: int, put_off: int, refused: int) -> str:
    parts = [f"{stored} received from {title}"]
    if put_off:
        parts.append(f"{put_off} put off: no room left, ingest what waits or free the disk")
    if refused:
        parts.append(f"{refused} refused: not what the sender said it is")
    return "; ".join(parts)
