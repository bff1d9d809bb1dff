"""The federation, as a loop: from a committed round to the next, asking hospitals through ``Sites``."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from federation.config import StudyConfig
from federation.encoding import encoded_size
from federation.messages import Update
from federation.schedule import trained_tensors
from model.arrays import digest_arrays, digest_of_shards, shard_digests
from model.tensors import Tensors, num_values
from server.aggregation.shares import QuorumNotMet, site_shares
from server.cohort import outliers
from server.collection import Collection, Spoilt
from server.instructing import instruct
from server.next_round import Diverged, keeps_step, next_round
from server.offers import Offer, delivered, put_off, refused, settle, take
from server.records import Part, Reached
from server.room import file_bytes, needs_room_for_all, room_for_round, within_room
from server.sites import LASTING, Asked, NotNow, Sites
from server.start import INITIAL_DIGEST
from server.state import GlobalState
from server.store import StudyStore

logger = logging.getLogger(__name__)

Start = Callable[[StudyConfig, int, Tensors | None, Path], Tensors]
"""(study, stage index, weights of the stage before, a path for new ones) -> weights that the stage starts from."""


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
        Diverged: if the weights would not be finite, and every site bears out what it said.
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
    try:
        reached = next_round(study, state, collection.tensors(), shares, store.open_round(number))
    except Diverged:
        collection.finish()  # a hospital that is at fault is named before the study is
        raise
    collection.finish()
    return reached
