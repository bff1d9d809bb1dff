"""The federation, as a loop. Flower, and how bytes travel, are behind ``Sites``."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from federation.config import StudyConfig, study_json
from federation.encoding import encoded_size
from federation.messages import Answer, Instruction, Refusal, Shipment, Step, Update
from federation.parcel import Parcel
from federation.schedule import trained_tensors
from federation.shipment import shipment_of
from federation.stages import FullStage, LoraStage
from model.arrays import digest_arrays, digest_of_shards, shard_digests
from model.tensor_file import TensorFile
from model.tensors import Tensors, num_values
from server.aggregation.combine import needs_all_shards
from server.aggregation.shares import QuorumNotMet, site_shares
from server.cohort import outliers
from server.collection import Collection, Source, Spoilt
from server.next_round import keeps_step, next_round
from server.offers import Offer, delivered, put_off, refused, settle, take
from server.records import Part, Reached
from server.room import file_bytes, room_for_round, within_room
from server.round_files import STEP
from server.start import INITIAL_DIGEST
from server.state import GlobalState
from server.store import StudyStore

logger = logging.getLogger(__name__)

LASTING = 0
"""Number of no round: what is published under it stays for the study."""
EVERYTHING_INSIDE = 2**62
"""Bytes that a message may hold where nothing can travel beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The instruction has gone to a site."""

    site: str
    bytes_down: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNow:
    """A site takes no part yet; it is asked again."""

    site: str
    refusal: Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A site's part in the round is settled."""

    site: str
    answer: Answer
    bytes_down: int = 0
    """What it fetched beside messages."""


Event = Asked | NotNow | Answered
Start = Callable[[StudyConfig, int, Tensors | None, Path], Tensors]
"""(study, stage index, weights of the stage before, a path for new ones) -> weights that the stage starts from."""


class Sites(Source, Protocol):
    """Every hospital of the study."""

    @property
    def carries_shards(self) -> bool:
        """Whether tensors can travel beside messages."""
        ...

    @property
    def max_scratch(self) -> int | None:
        """Bytes that hospitals' changes may take here at a time; None: as many as they have."""
        ...

    def publish(self, parcel: Parcel, path: Path, start: int, *, number: int) -> None:
        """Let hospitals fetch shards that lie in a file from a position on, until a round is over; 0: for good."""
        ...

    def ask(self, instruction: Instruction, num_admitted: Callable[[], int]) -> Iterator[Event]:
        """Send one instruction to every hospital; yield what happens, in the order it happens."""
        ...

    def num_left(self, site: str, *, number: int) -> int | None:
        """Bytes that a hospital left beside messages in a round; None if nobody here knows."""
        ...

    def forget(self, number: int) -> None:
        """Free the room of everything that travelled in a round, or for good under ``LASTING``."""
        ...


def run_study(store: StudyStore, sites: Sites, start: Start) -> GlobalState:
    """Run the rounds that remain, committing each one.

    Raises:
        QuorumNotMet: if a round fails as often as the study allows.
        Diverged: if admitted changes lead to weights that are not finite.
        NoRoom: if the disk is too full; what is not committed is to be abandoned.
    """
    study = store.study
    state = store.load_state()
    while state is None or state.round_number < study.num_rounds:
        state = run_round(store, enter_stage(store, state, start), sites)
    store.abandon_round()  # the last commit's end may have been cut off
    for number in (study.num_rounds, LASTING):
        sites.forget(number)
    return state


def enter_stage(store: StudyStore, state: GlobalState | None, start: Start) -> GlobalState:
    """The state a round starts from; on a stage's first round, with that stage's own weights."""
    study, done = store.study, state.round_number if state else 0
    index, stage = study.stage_of(done + 1)
    if state is not None and done + 1 != study.first_round_of(index):
        return state
    before = store.base_of(index)
    weights = start(study, index, before, store.stage_start_path(index))
    shards = shard_digests(weights)
    digest = digest_of_shards(weights.shapes, shards)
    if done == 0:
        store.set_fact(INITIAL_DIGEST, digest)
    base = before if stage.kind == "lora" else None
    return GlobalState(
        round_number=done,
        weights=weights,
        digest=digest,
        shards=shards,
        base=base,
        base_digest=digest_arrays(base) if base is not None else "",
    )


def run_round(store: StudyStore, state: GlobalState, sites: Sites) -> GlobalState:
    """One round, tried again until it has its quorum.

    Raises:
        QuorumNotMet: after ``max_attempts`` attempts.
        Diverged: if admitted changes lead to weights that are not finite.
        NoRoom: if the disk cannot take what the round writes.
    """
    if state.round_number > 0:
        sites.forget(state.round_number)  # its end may have been cut off
    with within_room(store.folder, room_needed(store.study, state, sites.max_scratch)):
        return _try_round(store, state, sites)


def room_needed(study: StudyConfig, state: GlobalState, max_scratch: int | None) -> int:
    """Bytes that the next round writes, at most, before it frees any."""
    number, transport = state.round_number + 1, study.transport
    _, stage = study.stage_of(number)
    trained = trained_tensors(study, number, frozenset(state.weights.shapes))
    moved = {name: state.weights.shapes[name] for name in trained}
    values = num_values(moved)
    return room_for_round(
        stage,
        weights_bytes=file_bytes(state.weights.shapes),
        step_bytes=encoded_size(values, transport.download)
        if keeps_step(transport, state.weights.shapes, moved)
        else 0,
        num_sites=study.rounds.num_sites,
        change_bytes=encoded_size(values, transport.upload),
        max_scratch=None if needs_room_for_all(stage) else max_scratch,
    )


def needs_room_for_all(stage: FullStage | LoraStage) -> bool:
    """Whether the stage's rules look at whole changes, so that a cap on scratch cannot hold."""
    return needs_all_shards(stage.combine) or isinstance(stage, LoraStage)


def _try_round(store: StudyStore, state: GlobalState, sites: Sites) -> GlobalState:
    rules, number = store.study.rounds, state.round_number + 1
    num_admitted = 0
    for attempt in range(1, rules.max_attempts + 1):
        if attempt > 1:
            time.sleep(rules.retry_seconds)
        started = time.monotonic()
        offers = collect(store, state, sites, attempt=attempt)
        logger.info(
            "round %d: %d offers after %.1f s", number, len(offers), time.monotonic() - started
        )
        reached = combine(store, state, sites, offers, started=started)
        num_admitted = len(offers)
        if reached is not None:
            seconds = time.monotonic() - started
            logger.info("round %d: %d sites, %.1f s in all", number, num_admitted, seconds)
            if reached.gap is not None:
                logger.info("round %d: relative gap to the mean product %.3g", number, reached.gap)
            store.clear_scratch()
            sites.forget(number)
            return store.state_of(reached)
        logger.warning(
            "round %d attempt %d: %d of %d", number, attempt, num_admitted, rules.min_sites
        )
    raise QuorumNotMet(round_number=number, admitted=num_admitted, required=rules.min_sites)


def collect(
    store: StudyStore, state: GlobalState, sites: Sites, *, attempt: int
) -> dict[str, Offer]:
    """Ask every hospital; what it says of its change decides whether it is admitted."""
    number = state.round_number + 1
    store.abandon_round()
    store.forget_parts(number)
    offers: dict[str, Offer] = {}
    parts: dict[str, Part] = {}
    instruction = instruct(store, state, sites)
    for event in sites.ask(instruction, offers.__len__):
        part = parts.get(
            event.site, Part(number=number, site=event.site, attempt=attempt, state="asked")
        )
        if isinstance(event, Asked):
            bytes_down = part.bytes_down + event.bytes_down
            part = replace(part, state="asked", code="", reason="", bytes_down=bytes_down)
        elif isinstance(event, NotNow):
            part = put_off(part, event.refusal)
        else:
            part = replace(part, bytes_down=part.bytes_down + event.bytes_down)
            part = settle(store, state, part, event.answer)
            if part.state == "admitted" and isinstance(event.answer, Update):
                part = take(store, part, event.answer, offers)
        parts[event.site] = part
        store.record(part)
    for site, refusal in outliers(store, state, parts).items():
        store.record(refused(parts[site], refusal))
        del offers[site]
    return offers


def instruct(store: StudyStore, state: GlobalState, sites: Sites) -> Instruction:
    """What every hospital is asked; tensors that are too large for a message can be fetched."""
    number = state.round_number + 1
    weights = ship(store, sites, state.weights, state.digest, shards=state.shards, number=number)
    if state.step is not None and weights.content is None:
        folder = store.round_path(state.round_number)
        sites.publish(state.step.parcel, folder / STEP, 0, number=number)
        step = Step(from_digest=state.step.from_digest, parcel=state.step.parcel)
        weights = replace(weights, step=step)
    return Instruction(
        study=study_json(store.study),
        round_number=number,
        weights=weights,
        base=None
        if state.base is None
        else ship(store, sites, state.base, state.base_digest, number=LASTING),
    )


def ship(
    store: StudyStore,
    sites: Sites,
    tensors: Tensors,
    digest: str,
    *,
    shards: tuple[str, ...] = (),
    number: int,
) -> Shipment:
    """Tensors that lie in a file, inside the message or to be fetched."""
    if not isinstance(tensors, TensorFile):
        raise TypeError("only what lies in a file can be sent")
    transport = store.study.transport
    if not sites.carries_shards:
        transport = replace(transport, inline_bytes=EVERYTHING_INSIDE)
    shipment = shipment_of(tensors, transport, digest=digest, shards=shards)
    if shipment.content is None:
        sites.publish(shipment.parcel, tensors.path, tensors.data_start, number=number)
    return shipment


def combine(
    store: StudyStore,
    state: GlobalState,
    sites: Sites,
    offers: dict[str, Offer],
    *,
    started: float,
) -> Reached | None:
    """Commit the round that the offers make; None if too few of them are left.

    A hospital that does not deliver what it said is taken out of the offers, and the round is computed anew without it.
    """
    number = state.round_number + 1
    while len(offers) >= store.study.rounds.min_sites:
        try:
            reached = _compute(store, state, sites, offers)
        except Spoilt as err:
            store.record(refused(_delivered(sites, offers.pop(err.site)), err.refusal))
            continue
        logger.info("round %d: computed after %.1f s", number, time.monotonic() - started)
        parts = [_delivered(sites, offers[site]) for site in sorted(offers)]
        store.record(*parts)
        store.commit(reached, parts, seconds=time.monotonic() - started)
        return reached
    return None


def _delivered(sites: Sites, offer: Offer) -> Part:
    """A hospital's part once its change was asked for."""
    part = offer.part
    return delivered(offer, sites.num_left(part.site, number=part.number))


def _compute(
    store: StudyStore, state: GlobalState, sites: Sites, offers: dict[str, Offer]
) -> Reached:
    """The next round's files, from changes of which every value was checked.

    Raises:
        Spoilt: by a site whose change cannot be used; what was written means nothing.
    """
    study, number = store.study, state.round_number + 1
    _, stage = study.stage_of(number)
    collection = Collection(
        number=number,
        num_spare=len(offers) - study.rounds.min_sites,
        expected={site: offer.change for site, offer in offers.items()},
        source=sites,
        max_scratch=None if needs_room_for_all(stage) else sites.max_scratch,
    )
    records = {site: offer.part.num_records for site, offer in offers.items()}
    shares = site_shares(records, weighting=study.rounds.site_weights)
    reached = next_round(study, state, collection.tensors(), shares, store.open_round(number))
    collection.finish()
    return reached
