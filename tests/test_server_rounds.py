"""The round loop with functions for hospitals: what counts, what is tried again, and what is kept of it."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from federation.config import StudyConfig
from federation.messages import Answer, Instruction, Refusal, RefusalCode, Update
from federation.parcel import pack_inline
from federation.shipment import open_inline
from federation.stages import FullStage, LoraStage, OuterStep
from model.arrays import Arrays
from model.tensors import InMemory, as_tensors
from server.aggregation.shares import QuorumNotMet
from server.cohort import outliers
from server.collection import Expected
from server.next_round import Diverged
from server.offers import Offer, delivered
from server.records import Part
from server.rounds import run_study
from server.sites import Answered, Asked, Event
from server.state import GlobalState
from server.store import StudyStore
from simulation.in_process import InProcess
from tests.toys.hospitals import (
    FULL,
    LORA,
    SITES,
    STAGES,
    A,
    B,
    Behave,
    bits,
    change_of,
    drawn,
    first,
    honest,
    hospitals,
    new_run,
    rogue,
    start,
    with_change,
)

StudyOf = Callable[..., StudyConfig]


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES.keys())
def test_the_order_of_answers_does_not_move_a_bit_of_a_study(
    stages: tuple[FullStage | LoraStage, ...], study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(*stages, num_sites=4, site_weights="records")
    orders = (("a", "bb", "c", "ddd"), ("ddd", "c", "bb", "a"), ("bb", "ddd", "a", "c"))
    found = {bits(new_run(memory_path / order[0], study, hospitals(order))) for order in orders}
    assert len(found) == 1


def test_a_full_round_without_outer_momentum_adds_the_mean_change(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(replace(FULL, num_rounds=1))
    seen: list[Answer] = []

    def behave(instruction: Instruction, site: str) -> Answer:
        seen.append(honest(instruction, site))
        return seen[-1]

    state = new_run(memory_path, study, hospitals(behave=behave))
    for name, before in first(study, 0).items():
        mean = np.mean([change_of(update)[name] for update in seen], axis=0)
        np.testing.assert_allclose(state.weights[name], before + mean, atol=1e-6)


def test_one_factor_rests_bit_for_bit_in_each_round_of_the_alternating_rule(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(*STAGES["alternate"])
    received: list[Arrays] = []

    def behave(instruction: Instruction, site: str) -> Answer:
        answer = honest(instruction, site)
        received.append(open_inline(instruction.weights))
        assert (
            answer.change.shapes.keys()
            == ({"w", "v"}, {B}, {A})[
                0 if instruction.round_number == 1 else 1 + instruction.round_number % 2
            ]
        )
        return answer

    last = new_run(memory_path, study, hospitals(["a", "b"], behave)).weights
    adapters = [*received[2::2], last]
    for number, (one, two) in enumerate(pairwise(adapters)):
        rests, moves = (A, B) if number % 2 == 0 else (B, A)
        assert one[rests].tobytes() == two[rests].tobytes()
        assert one[moves].tobytes() != two[moves].tobytes()


def test_the_alternating_rule_gives_the_mean_of_the_sites_products_exactly(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(FULL, replace(LORA, rule="alternate", num_rounds=2))
    products: list[NDArray[np.float64]] = []

    def behave(instruction: Instruction, site: str) -> Answer:
        answer = honest(instruction, site)
        if instruction.round_number == study.num_rounds:
            ended = {
                name: tensor.astype(np.float64) + change_of(answer).get(name, 0.0)
                for name, tensor in open_inline(instruction.weights).items()
            }
            products.append(ended[B] @ ended[A])
        return answer

    found = new_run(memory_path, study, hospitals(behave=behave)).weights
    np.testing.assert_allclose(
        found[B].astype(np.float64) @ found[A], np.mean(products, axis=0), rtol=1e-5, atol=1e-6
    )


def spoilt(value: float) -> Behave:
    def behave(instruction: Instruction, site: str) -> Answer:
        update = honest(instruction, site)
        return with_change(update, {**change_of(update), "w": np.full((2, 3), value, np.float32)})

    return behave


def changed(**fields: object) -> Behave:
    return lambda instruction, site: replace(honest(instruction, site), **fields)  # type: ignore[arg-type]


ROGUES: dict[str, tuple[Behave, RefusalCode, str]] = {
    "NaN": (spoilt(np.nan), RefusalCode.NOT_FINITE, "holds NaN or infinity"),
    "infinity": (spoilt(np.inf), RefusalCode.NOT_FINITE, "holds NaN or infinity"),
    "a norm of 1e30": (spoilt(1e30), RefusalCode.NORM, "norm 2.45e+30"),
    "a missing tensor": (
        lambda instruction, site: with_change(honest(instruction, site), {"w": drawn((2, 3))}),
        RefusalCode.TENSORS, "tensor v ",
    ),
    "another round": (changed(round_number=9), RefusalCode.STALE, "round 9"),
    "other weights": (changed(received_digest="x"), RefusalCode.STALE, "other weights"),
    "another study": (changed(study_digest="x"), RefusalCode.STUDY, "another study"),
    "fewer steps": (changed(num_steps=1), RefusalCode.STEPS, "1 local steps"),
    "a refusal": (
        lambda instruction, site: Refusal(code=RefusalCode.NO_CACHE, reason="no cache here"),
        RefusalCode.NO_CACHE, "no cache here",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "code", "words"), ROGUES.values(), ids=ROGUES.keys())
def test_a_refused_update_names_site_and_reason_and_does_not_move_a_bit(
    study_of: StudyOf, memory_path: Path, answer: Behave, code: RefusalCode, words: str
) -> None:
    study = study_of(replace(FULL, num_rounds=2), num_sites=4)
    ask = hospitals([*SITES, "rogue"], rogue("rogue", answer))
    store = StudyStore.create(memory_path / "with", study)
    assert bits(run_study(store, InProcess(ask), start)) == bits(
        new_run(memory_path / "without", study, hospitals())
    )
    refused = [part for part in store.parts() if part.state == "refused"]
    assert [(part.number, part.site, part.code) for part in refused] == [
        (1, "rogue", str(code)),
        (2, "rogue", str(code)),
    ]
    assert words in refused[0].reason
    assert [record.num_sites for record in store.rounds()] == [3, 3]


def test_what_a_round_says_about_its_hospitals_is_kept(
    study_of: StudyOf, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path, study_of(replace(FULL, num_rounds=1)))
    run_study(store, InProcess(hospitals()), start)
    (part, *others) = store.parts()
    assert len(others) == 2
    assert (part.site, part.state, part.attempt) == ("a", "admitted", 1)
    assert (part.loss, part.held_out_loss, part.num_records, part.num_files) == (0.5, 0.25, 11, 20)
    assert (part.bytes_down, part.bytes_up) == (100, 4 * (6 + 4))
    (record,) = store.rounds()
    assert (record.loss, record.held_out_loss) == (0.5, 0.25)


def test_a_hospital_received_what_it_was_sent_each_time_and_what_it_fetched(
    study_of: StudyOf, memory_path: Path
) -> None:
    def ask(instruction: Instruction) -> Iterator[Event]:
        yield Asked(site="a", bytes_down=70)
        yield Asked(site="a", bytes_down=30)
        yield Answered(site="a", answer=honest(instruction, "a"), bytes_down=500)

    store = StudyStore.create(memory_path, study_of(replace(FULL, num_rounds=1), min_sites=1))
    run_study(store, InProcess(ask), start)
    assert [part.bytes_down for part in store.parts()] == [600]


@pytest.mark.parametrize(("num_left", "counted"), [(15, 15), (0, 0), (None, 12)])
def test_a_hospital_left_what_was_counted_or_else_what_it_announced(
    num_left: int | None, counted: int
) -> None:
    parcel, content = pack_inline(InMemory({"w": np.ones(3, np.float32)}), "fp32")
    offer = Offer(
        part=Part(number=1, site="a", attempt=1, state="admitted"),
        change=Expected(parcel=parcel, norm=1.0, read=None),
    )
    assert delivered(offer, num_left).bytes_up == counted
    inside = replace(offer, change=replace(offer.change, read=lambda *_: content))
    assert delivered(inside, num_left) == inside.part


def test_a_round_without_quorum_is_tried_as_often_as_the_study_allows_and_commits_nothing(
    study_of: StudyOf, memory_path: Path
) -> None:
    asked: list[str] = []

    def behave(instruction: Instruction, site: str) -> Answer:
        asked.append(site)
        return honest(instruction, site) if site == "a" else changed(num_steps=0)(instruction, site)

    store = StudyStore.create(memory_path, study_of(FULL, max_attempts=4))
    with pytest.raises(QuorumNotMet, match="round 1 has 1 admitted updates of at least 2"):
        run_study(store, InProcess(hospitals(behave=behave)), start)
    assert asked == list(SITES) * 4
    assert store.load_state() is None
    assert list((store.folder / "rounds").iterdir()) == []
    assert {part.attempt for part in store.parts()} == {4}


def test_a_study_that_missed_its_quorum_goes_on_when_it_is_run_again(
    study_of: StudyOf, memory_path: Path
) -> None:
    study = study_of(FULL)

    def behave(instruction: Instruction, site: str) -> Answer:
        broken = instruction.round_number == 2 and site != "a"
        return (changed(num_steps=0) if broken else honest)(instruction, site)

    store = StudyStore.create(memory_path / "stopped", study)
    with pytest.raises(QuorumNotMet):
        run_study(store, InProcess(hospitals(behave=behave)), start)
    resumed = bits(new_run(memory_path / "stopped", study, hospitals()))
    assert resumed == bits(new_run(memory_path / "calm", study, hospitals()))


def test_a_hospital_of_an_earlier_attempt_is_no_part_of_the_round(
    study_of: StudyOf, memory_path: Path
) -> None:
    attempts = iter([["early"], ["a", "b"]])

    def ask(instruction: Instruction) -> Iterator[Event]:
        return hospitals(next(attempts))(instruction)

    store = StudyStore.create(memory_path, study_of(replace(FULL, num_rounds=1)))
    run_study(store, InProcess(ask), start)
    assert [(part.site, part.attempt) for part in store.parts()] == [("a", 2), ("b", 2)]


def test_an_attempts_changes_do_not_reach_the_next_attempt(
    study_of: StudyOf, memory_path: Path
) -> None:
    attempts = iter([["early"], ["a", "b"]])

    def ask(instruction: Instruction) -> Iterator[Event]:
        return hospitals(next(attempts))(instruction)

    study = study_of(replace(FULL, num_rounds=1))
    assert bits(new_run(memory_path / "1", study, ask)) == bits(
        new_run(memory_path / "2", study, hospitals(["a", "b"]))
    )


def test_a_refusal_is_logged_with_round_site_and_reason(
    study_of: StudyOf, memory_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ask = hospitals(behave=rogue("c", changed(num_steps=1)))
        new_run(memory_path, study_of(replace(FULL, num_rounds=1)), ask)
    assert "round 1: c is refused: it made 1 local steps, 2 were asked for" in caplog.text


def test_changes_that_would_make_the_model_infinite_are_never_committed(
    study_of: StudyOf, memory_path: Path
) -> None:
    def explode(instruction: Instruction, site: str) -> Update:
        update = honest(instruction, site)
        largest = {name: np.full_like(part, 3e38) for name, part in change_of(update).items()}
        return with_change(update, largest)

    stage = replace(FULL, outer=OuterStep(learning_rate=2.0))
    store = StudyStore.create(memory_path, study_of(stage, num_sites=1, min_sites=1))
    with pytest.raises(Diverged, match="lower the learning rate"):
        run_study(store, InProcess(hospitals(("a",), explode)), start)
    assert store.rounds() == []


def test_two_hospitals_are_held_against_earlier_changes_of_the_same_factor_alone(
    study_of: StudyOf, memory_path: Path
) -> None:
    def larger_in_even_rounds(instruction: Instruction, site: str) -> Update:
        update = honest(instruction, site)
        scale = np.float32(100.0 if instruction.round_number % 2 == 1 else 1.0)
        return with_change(update, {n: scale * part for n, part in change_of(update).items()})

    stages = (replace(FULL, num_rounds=1), replace(LORA, rule="alternate"))
    store = StudyStore.create(memory_path, study_of(*stages, num_sites=2, min_sites=2))
    run_study(store, InProcess(hospitals(("a", "b"), larger_in_even_rounds)), start)
    assert [record.num_sites for record in store.rounds()] == [2, 2, 2, 2, 2]


def test_a_refused_change_is_no_measure_for_later_ones(
    study_of: StudyOf, memory_path: Path
) -> None:
    store = StudyStore.create(memory_path, study_of(FULL))
    for site, state, norm in (
        *(("a", "admitted", 1.0), ("b", "admitted", 1.0), ("c", "admitted", 1.0)),
        *(
            ("d", "refused", 1e9),
            ("e", "refused", 1e9),
            ("f", "refused", 1e9),
            ("g", "refused", 1e9),
        ),
    ):
        store.record(Part(number=1, site=site, attempt=1, state=state, norm=norm))
    now = {"a": Part(number=2, site="a", attempt=1, state="admitted", norm=50.0)}
    weights = as_tensors({"w": np.zeros(1, np.float32)})
    reached = GlobalState(round_number=1, weights=weights, digest="")
    assert outliers(store, reached, now).keys() == {"a"}
