"""From round to round and from stage to stage: the moving average, the momentum, the frozen base."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from federation.config import StudyConfig
from federation.messages import Answer, Instruction
from federation.shipment import open_inline
from federation.stages import OuterStep
from model.arrays import digest_arrays
from model.tensors import Tensors
from server.rounds import run_study
from server.store import StudyStore
from simulation.in_process import InProcess
from tests.toys.hospitals import FULL, LORA, SITES, drawn, honest, hospitals, new_run, start

StudyOf = Callable[..., StudyConfig]


def test_the_moving_average_follows_the_weights(study_of: StudyOf, memory_path: Path) -> None:
    study = study_of(replace(FULL, num_rounds=2, ema_decay=0.75))
    one = new_run(
        memory_path / "1", study_of(replace(FULL, num_rounds=1, ema_decay=0.75)), hospitals()
    )
    second = new_run(memory_path / "2", study, hospitals())
    assert one.average is not None
    assert second.average is not None
    assert digest_arrays(one.average) == digest_arrays(one.weights)
    wanted = 0.75 * one.weights["w"] + 0.25 * second.weights["w"]
    assert one.weights["w"].tobytes() != second.weights["w"].tobytes()
    np.testing.assert_allclose(second.average["w"], wanted, rtol=1e-5)


def test_an_adapter_stage_freezes_the_average_and_names_its_digest(
    study_of: StudyOf, memory_path: Path
) -> None:
    full = replace(FULL, num_rounds=2, ema_decay=0.75)
    base = new_run(memory_path / "full", study_of(full), hospitals()).average
    seen: list[Instruction] = []

    def behave(instruction: Instruction, site: str) -> Answer:
        seen.append(instruction)
        return honest(instruction, site)

    state = new_run(memory_path / "both", study_of(full, LORA), hospitals(behave=behave))
    assert {instruction.base_digest for instruction in seen if instruction.round_number <= 2} == {
        ""
    }
    late = [instruction for instruction in seen if instruction.round_number > 2]
    assert {instruction.base_digest for instruction in late} == {digest_arrays(base or {})}
    assert base is not None
    assert state.base is not None
    for instruction in late:
        assert instruction.base is not None
        assert digest_arrays(open_inline(instruction.base)) == digest_arrays(base)
    assert digest_arrays(state.base) == digest_arrays(base)


def test_a_second_full_stage_starts_without_the_momentum_of_the_first(
    study_of: StudyOf, memory_path: Path
) -> None:
    one = replace(FULL, num_rounds=2, outer=OuterStep(learning_rate=0.7, momentum=0.9))
    study = study_of(one, replace(one, num_rounds=1))

    def go_on(study: StudyConfig, stage: int, before: Tensors | None, path: Path) -> Tensors:
        return before or start(study, stage, before, path)

    calm = InProcess(hospitals())
    state = run_study(StudyStore.create(memory_path / "2", study), calm, go_on)
    before = run_study(StudyStore.create(memory_path / "1", study_of(one)), calm, go_on)
    change = np.mean(
        [drawn((2, 3), site, 3, digest_arrays(before.weights), "w") for site in SITES], axis=0
    )
    assert state.momentum is not None
    np.testing.assert_allclose(state.momentum["w"], change, atol=1e-6)
