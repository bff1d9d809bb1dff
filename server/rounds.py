"""The federation, as a loop. Flower is behind ``ask``."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from federation.config import (
    FullStage,
    LoraStage,
    OuterStep,
    StudyConfig,
    study_digest,
    study_json,
)
from federation.messages import Answer, Instruction, Refusal, Update
from federation.schedule import trained_tensors
from model.arrays import Arrays, digest_arrays
from model.ema import update_average
from server.admission import Expectation, inspect, inspect_ledger, inspect_norms
from server.aggregation import QuorumNotMet, l2_norm, mean_change, mean_product, site_shares
from server.outer import outer_step
from server.state import GlobalState
from server.store import Part, StudyStore, Witnessed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The instruction has gone to a site."""

    site: str
    bytes_down: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A site's part in the round is settled."""

    site: str
    answer: Answer


class Diverged(RuntimeError):
    """Admitted changes led to weights that are not finite."""

    def __init__(self, round_number: int) -> None:
        super().__init__(
            f"round {round_number} would make the model's weights infinite, so it is not committed: lower the "
            f"learning rate or max_norm_ratio in a new study"
        )


Event = Asked | Answered
Ask = Callable[[Instruction], Iterator[Event]]
"""Send one instruction to every hospital; yield what happens, in the order it happens."""
Start = Callable[[StudyConfig, int, Arrays], Arrays]
"""(study, stage index, weights of the stage before) -> weights that the stage starts from."""


def run_study(store: StudyStore, ask: Ask, start: Start) -> GlobalState:
    """Run the rounds that remain, committing each one.

    Raises:
        QuorumNotMet: if a round fails as often as the study allows.
    """
    study = store.study
    state = store.load_state() or GlobalState(round_number=0, weights=store.start_weights())
    while state.round_number < study.num_rounds:
        state = enter_stage(study, state, start)
        state = run_round(store, state, ask)
    return state


def enter_stage(study: StudyConfig, state: GlobalState, start: Start) -> GlobalState:
    """The state a round starts from; on a stage's first round, with that stage's own weights."""
    index, stage = study.stage_of(state.round_number + 1)
    if state.round_number + 1 != study.first_round_of(index):
        return state
    if isinstance(stage, LoraStage):
        base = state.average or state.weights
        return GlobalState(
            round_number=state.round_number,
            weights=start(study, index, base),
            base=base,
            base_digest=digest_arrays(base),
        )
    return GlobalState(
        round_number=state.round_number, weights=start(study, index, state.average or state.weights)
    )


def run_round(store: StudyStore, state: GlobalState, ask: Ask) -> GlobalState:
    """One round, tried again until it has its quorum.

    Raises:
        QuorumNotMet: after ``max_attempts`` attempts.
        Diverged: if admitted changes lead to weights that are not finite.
    """
    rules, number = store.study.rounds, state.round_number + 1
    parts: list[Part] = []
    for attempt in range(1, rules.max_attempts + 1):
        if attempt > 1:
            time.sleep(rules.retry_seconds)
        started = time.monotonic()
        parts = collect(store, state, ask, attempt=attempt)
        if len(parts) >= rules.min_sites:
            reached = aggregate(store, state, parts)
            if not all(np.isfinite(tensor).all() for tensor in reached.weights.values()):
                raise Diverged(number)
            index, _ = store.study.stage_of(number)
            store.commit(reached, stage=index, parts=parts, seconds=time.monotonic() - started)
            store.clear_changes()
            logger.info(
                "round %d of %d committed with %d sites", number, store.study.num_rounds, len(parts)
            )
            return reached
        logger.warning(
            "round %d attempt %d: %d of %d", number, attempt, len(parts), rules.min_sites
        )
    raise QuorumNotMet(round_number=number, admitted=len(parts), required=rules.min_sites)


def collect(store: StudyStore, state: GlobalState, ask: Ask, *, attempt: int) -> list[Part]:
    """Ask every hospital and keep each admitted change on disk; the parts that count, in site order."""
    study, number = store.study, state.round_number + 1
    store.clear_changes()
    store.forget_parts(number)
    instruction = Instruction(
        study=study_json(study),
        round_number=number,
        weights=state.weights,
        base=state.base or None,
        base_digest=state.base_digest,
    )
    expected = expectation(study, state)
    parts: dict[str, Part] = {}
    for event in ask(instruction):
        part = parts.get(
            event.site, Part(number=number, site=event.site, attempt=attempt, state="asked")
        )
        if isinstance(event, Asked):
            part = replace(part, bytes_down=part.bytes_down + event.bytes_down)
        else:
            part = settle(part, event.answer, expected, witnessed=store.witnessed(event.site))
            if part.state == "admitted" and isinstance(event.answer, Update):
                store.keep_change(event.site, event.answer.change)
                if event.answer.ledger is not None:
                    store.witness(event.site, event.answer.ledger, number)
                part = replace(part, norm=l2_norm(event.answer.change.values()))
        parts[event.site] = part
        store.record(part)
    for site, refusal in outliers(store, state, parts).items():
        parts[site] = refused(parts[site], refusal)
        store.record(parts[site])
    return [parts[site] for site in sorted(parts) if parts[site].state == "admitted"]


def outliers(store: StudyStore, state: GlobalState, parts: dict[str, Part]) -> dict[str, Refusal]:
    """Refusals for changes far larger than this round's others or, if those are few, than earlier ones.

    Earlier changes compare if they were admitted, in this stage, and to the same tensors.
    """
    study, number, names = store.study, state.round_number + 1, frozenset(state.weights)
    first = study.first_round_of(study.stage_of(number)[0])
    trained = trained_tensors(study, number, names)
    alike = {
        past for past in range(first, number) if trained_tensors(study, past, names) == trained
    }
    norms = {site: part.norm for site, part in parts.items() if part.norm is not None}
    earlier = [
        part.norm
        for part in store.parts()
        if part.state == "admitted" and part.norm is not None and part.number in alike
    ]
    return inspect_norms(norms, earlier=earlier, max_ratio=study.rounds.max_norm_ratio)


def settle(
    part: Part, answer: Answer, expected: Expectation, *, witnessed: Witnessed | None = None
) -> Part:
    """What a hospital's answer makes of its part."""
    if isinstance(answer, Refusal):
        return refused(part, answer)
    part = replace(
        part,
        loss=answer.loss,
        held_out_loss=answer.held_out_loss,
        seconds=answer.seconds,
        num_records=answer.num_records,
        num_files=answer.num_files,
        bytes_up=part.bytes_up + sum(tensor.nbytes for tensor in answer.change.values()),
    )
    refusal = inspect(answer, expected)
    if refusal is None and expected.is_private:
        refusal = inspect_ledger(answer.ledger, witnessed.head if witnessed else None)
    return refused(part, refusal) if refusal else replace(part, state="admitted")


def refused(part: Part, refusal: Refusal) -> Part:
    """The part of a hospital that does not count in this round."""
    logger.warning("round %d: %s is refused: %s", part.number, part.site, refusal.reason)
    return replace(part, state="refused", code=str(refusal.code), reason=refusal.reason)


def expectation(study: StudyConfig, state: GlobalState) -> Expectation:
    """What the gate holds every update of the next round against."""
    number = state.round_number + 1
    _, stage = study.stage_of(number)
    trained = trained_tensors(study, number, frozenset(state.weights))
    return Expectation(
        study_digest=study_digest(study),
        round_number=number,
        received_digest=digest_arrays(state.weights),
        num_steps=stage.local.local_steps,
        shapes={name: state.weights[name].shape for name in sorted(trained)},
        needs_counts=study.rounds.site_weights == "records",
        is_private=stage.local.privacy is not None,
    )


def aggregate(store: StudyStore, state: GlobalState, parts: list[Part]) -> GlobalState:
    """The next global state from the admitted changes on disk."""
    study = store.study
    _, stage = study.stage_of(state.round_number + 1)
    shares = site_shares(
        {part.site: part.num_records for part in parts}, weighting=study.rounds.site_weights
    )
    if isinstance(stage, FullStage):
        change = mean_change(shares, store.load_change)
        weights, momentum = outer_step(state.weights, state.momentum, change, stage.outer)
        average: Arrays = {}
        if stage.ema_decay > 0:
            average = update_average(state.average or weights, weights, decay=stage.ema_decay)
        return state.next(weights=weights, momentum=momentum, average=average)
    if stage.rule == "product-svd":
        return state.next(
            weights=mean_product(state.weights, shares, store.load_change), momentum={}, average={}
        )
    change = mean_change(shares, store.load_change)
    weights, _ = outer_step(state.weights, {}, change, OuterStep())
    return state.next(weights=weights, momentum={}, average={})
