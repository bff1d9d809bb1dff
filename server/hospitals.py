"""Every hospital behind one interface: Flower carries the talk, the blob store what is too large for it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flwr.serverapp import Grid

from federation.bells import Bells
from federation.config import StudyConfig, study_digest
from federation.log_witness import SignedHead
from federation.messages import BoxTicket, Instruction, Shipment, Ticket, Update
from federation.parcel import Parcel, ReadShard, packed_size
from federation.plan import SignedPlan
from federation.schedule import trained_tensors
from server.admission import inspect_signature
from server.asking import Conversation, conduct
from server.blobs.store import BlobStore
from server.collection import Words
from server.countersign import Countersign
from server.deliveries import Boxes, box_name, box_owner, box_prefix, gather
from server.evidence.witnesses import Witnesses
from server.mailbox import Mailbox, Node
from server.room import needs_room_for_all
from server.sites import LASTING, Answered, Asked, Event

SECONDS_TO_SPARE = 60.0
"""That a ticket outlives the round's deadline."""
AT_ONCE = 8
"""Changes of up to so many times the bytes that a message may hold are left before they are asked for."""


def nobody(_site: str) -> bytes | None:
    """For hospitals of which no key is known."""
    return None


@dataclass(kw_only=True, slots=True)
class Hospitals:
    """Every connected hospital of one study."""

    grid: Grid
    study: StudyConfig
    number_site: Callable[[str], int | None]
    """The number that stands for a hospital in conditions; the same for the study's life."""
    countersign: Countersign
    """Signs what was last seen of each hospital's ledger."""
    blobs: BlobStore | None = None
    """Where shards travel; None where everything has to travel inside messages (simulation engine)."""
    max_scratch: int | None = None
    """Bytes that hospitals' changes may take at the coordinator at a time; None: as many as they have."""
    holders: set[tuple[str, str]] = field(default_factory=set)
    """(site, digest) of frozen models that a site is known to hold."""
    plan: SignedPlan | None = None
    """What hospitals have to approve; None is refused by every one of them."""
    signer: Callable[[str], bytes | None] = nobody
    """The public key (PEM) that a hospital's updates have to be signed with; None where there is no roster."""
    witnesses: Witnesses | None = None
    """Keeps what hospitals say of their logs of evidence; None: nobody does."""
    names: dict[int, str] = field(default_factory=dict)
    """Names of nodes that Flower knows no name for (simulation engine)."""
    bells: Bells | None = None
    """Tell of answers; None where no gateway does."""

    @property
    def carries_shards(self) -> bool:
        """Whether tensors can travel beside messages."""
        return self.blobs is not None

    def publish(self, parcel: Parcel, path: Path, start: int, *, number: int) -> None:
        """Let hospitals fetch shards that lie in a file from a position on, until a round is over."""
        self._store.publish(self._shelf(parcel, number), parcel, path, start)

    def ask(self, instruction: Instruction, num_admitted: Callable[[], int]) -> Iterator[Event]:
        """Send one instruction to all; yield what happens until all are settled or time is up."""
        talk = Conversation(
            instruction=instruction,
            mail=self._mailbox("train"),
            rules=self.study.rounds,
            holders=self.holders,
            num_admitted=num_admitted,
        )
        number, since = instruction.round_number, time.time()
        for event in conduct(talk, self._address):
            self._witness(event, number)
            yield self._counted(self._authentic(event), number, since)

    def num_left(self, site: str, *, number: int) -> int | None:
        """Bytes that a hospital left beside messages in a round; None if the place for them does not know."""
        if self.blobs is None:
            return 0
        return self.blobs.moved(box_prefix(study_digest(self.study), number), site)

    def fetch(
        self, wanted: Mapping[str, Parcel], shards: Sequence[int], *, number: int, num_spare: int
    ) -> Words:
        """Ask each site for some of its shards at once; what is given tells what becomes of that, and waits for it."""
        boxes = Boxes(
            store=self._store,
            study_digest=study_digest(self.study),
            number=number,
            parcels=wanted,
            shards=shards,
        )
        mail = self._mailbox("query.deliver")
        return gather(boxes, mail, self.study.rounds, num_spare=num_spare)

    def bring(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> ReadShard:
        """Read a site's shards that are here."""
        return self._store.bring(self._box(site, parcel, number), parcel, shards)

    def drop(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> None:
        """Free the room of a site's shards."""
        self._store.drop(self._box(site, parcel, number), shards)

    def forget(self, number: int) -> None:
        """Free the room of everything that travelled in a round."""
        if self.blobs is not None:
            self.blobs.forget(shelf_prefix(study_digest(self.study), number))
            self.blobs.forget(box_prefix(study_digest(self.study), number))

    def _mailbox(self, kind: str) -> Mailbox:
        return Mailbox(grid=self.grid, kind=kind, names=self.names, bells=self.bells)

    def _address(self, instruction: Instruction, node: Node) -> tuple[Instruction, Asked]:
        """The instruction as one hospital gets it: with its own papers, and without a base that it holds."""
        number, base = instruction.round_number, instruction.base
        if base is not None and base.content and (node.site, base.digest) in self.holders:
            base = replace(base, content=None)
        elif base is not None:
            base = self._ticketed(base, LASTING, node.site)
        weights = self._ticketed(instruction.weights, number, node.site)
        inside = [each.content for each in (weights, base) if each is not None and each.content]
        addressed = replace(
            instruction,
            weights=weights,
            base=base,
            box=self._box_ticket(instruction, node.site),
            site_number=self.number_site(node.site),
            receipt=self.countersign.receipt_for(node.site),
            witness_key=self.countersign.public_key,
            plan=self.plan,
            log_witness=self.witnesses.last(node.site) if self.witnesses else None,
        )
        return addressed, Asked(site=node.site, bytes_down=sum(map(len, inside)))

    def _witness(self, event: Event, number: int) -> None:
        """Keep what a hospital says of its log, whatever else it says."""
        said = _log_of(event)
        if self.witnesses is not None and said is not None:
            self.witnesses.hear(
                event.site,
                said,
                key=self.signer(event.site),
                study_digest=study_digest(self.study),
                round_number=number,
            )

    def _authentic(self, event: Event) -> Event:
        """An update that its hospital did not sign as a refusal, before anything of it is believed."""
        if not isinstance(event, Answered) or not isinstance(event.answer, Update):
            return event
        digest, key = self.plan.digest if self.plan else "", self.signer(event.site)
        refusal = inspect_signature(event.answer, key, plan_digest=digest)
        return replace(event, answer=refusal) if refusal else event

    def _counted(self, event: Event, number: int, since: float) -> Event:
        """A settled hospital with what it fetched: for this round, and since then for good."""
        if self.blobs is None or not isinstance(event, Answered):
            return event
        digest, site = study_digest(self.study), event.site
        for_round = self.blobs.moved(shelf_prefix(digest, number), site) or 0
        for_good = self.blobs.moved(shelf_prefix(digest, LASTING), site, since=since) or 0
        return replace(event, bytes_down=for_round + for_good)

    def _ticketed(self, shipment: Shipment, number: int, site: str) -> Shipment:
        """With leave to fetch what does not travel inside the message."""
        if shipment.content is not None:
            return shipment
        step = shipment.step
        if step is not None:
            step = replace(step, ticket=self._ticket(step.parcel, number, site))
        return replace(shipment, ticket=self._ticket(shipment.parcel, number, site), step=step)

    def _ticket(self, parcel: Parcel, number: int, site: str) -> Ticket:
        seconds = self.study.rounds.deadline_seconds + SECONDS_TO_SPARE
        shelf = self._shelf(parcel, number)
        return self._store.fetch_ticket(shelf, parcel, site=site, seconds=seconds)

    def _box_ticket(self, instruction: Instruction, site: str) -> BoxTicket | None:
        """Leave for a hospital to leave its change before it is asked for it, if it is of few bytes."""
        num_bytes = self._bytes_at_once(instruction)
        if self.blobs is None or not num_bytes:
            return None
        return self.blobs.box_ticket(
            box_owner(study_digest(self.study), instruction.round_number, site),
            site=site,
            max_bytes=num_bytes,
            seconds=self.study.rounds.deadline_seconds + SECONDS_TO_SPARE,
        )

    def _bytes_at_once(self, instruction: Instruction) -> int:
        """Bytes of a change that hospitals may leave at once; 0 where it travels inside, or when it is sent for."""
        study, shapes = self.study, instruction.weights.parcel.shapes
        trained = trained_tensors(study, instruction.round_number, frozenset(shapes))
        num_bytes = packed_size(
            {name: shapes[name] for name in trained},
            study.transport.upload,
            shard_values=study.transport.shard_values,
        )
        _, stage = study.stage_of(instruction.round_number)
        is_capped = self.max_scratch is not None and not needs_room_for_all(stage)
        inside, at_once = study.transport.inline_bytes, AT_ONCE * study.transport.inline_bytes
        return num_bytes if inside < num_bytes <= at_once and not is_capped else 0

    def _shelf(self, parcel: Parcel, number: int) -> str:
        return shelf_prefix(study_digest(self.study), number) + parcel.digest[:16]

    def _box(self, site: str, parcel: Parcel, number: int) -> str:
        return box_name(study_digest(self.study), number, site, parcel)

    @property
    def _store(self) -> BlobStore:
        if self.blobs is None:
            raise TypeError("nothing travels beside messages here")
        return self.blobs


def _log_of(event: Event) -> SignedHead | None:
    if isinstance(event, Asked):
        return None
    return event.answer.log if isinstance(event, Answered) else event.refusal.log


def shelf_prefix(digest: str, number: int) -> str:
    """How the names of everything begin that hospitals may fetch in a round."""
    return f"down.{digest[:12]}.{number:05d}."
