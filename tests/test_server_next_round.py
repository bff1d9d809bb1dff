"""The next round's files: the weights are the last ones plus the step as it travels, bit for bit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import StudyConfig, Transport
from federation.parcel import Unpacked, shards_in_file
from federation.stages import Combination, FullStage, LocalTraining, LoraStage, OuterStep
from model.arrays import Arrays, digest_arrays, load_arrays
from model.tensor_file import TensorFile, copy_tensors
from model.tensors import Shapes, as_tensors
from server.next_round import Diverged, next_round
from server.round_files import STEP, read_step, state_path
from server.state import GlobalState

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=9, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=4, local=LOCAL, rank=2, alpha=2.0)
SHAPES = {"a": (30, 20), "b": (7,), "c": (300, 3)}
FACTORS = {"q.lora_A.weight": (2, 40), "q.lora_B.weight": (50, 2)}
SHARES = {"n": 0.25, "s": 0.75}
EQUAL = {"n": 1 / 3, "s": 1 / 3, "w": 1 / 3}


def drawn(seed: int, shapes: Shapes = SHAPES, scale: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        name: (scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()
    }


def small_transport(download: str) -> Transport:
    return Transport(download=download, inline_bytes=100, shard_values=500)  # type: ignore[arg-type]


def state_of(tmp_path: Path, weights: Arrays) -> GlobalState:
    path = tmp_path / "before.safetensors"
    return GlobalState(round_number=0, digest=copy_tensors(path, weights), weights=TensorFile(path))


def advance(
    study: StudyConfig, state: GlobalState, changes: dict[str, Arrays], folder: Path
) -> GlobalState:
    """The state that the files of the next round make."""
    folder.mkdir()
    lazily = {site: as_tensors(change) for site, change in changes.items()}
    shares = SHARES if changes.keys() == SHARES.keys() else EQUAL
    reached = next_round(study, state, lazily, shares, folder)
    files = {
        name: TensorFile(state_path(folder, name))
        for name in ("momentum", "variance", "average")
        if state_path(folder, name).exists()
    }
    weights = TensorFile(state_path(folder, "weights"))
    return GlobalState(
        round_number=reached.number,
        weights=weights,
        digest=digest_arrays(weights),
        step=read_step(folder),
        momentum=files.get("momentum"),
        variance=files.get("variance"),
        average=files.get("average"),
    )


@pytest.mark.parametrize("download", ["bf16", "int8"])
def test_old_weights_plus_the_step_that_travels_are_the_next_ones_bit_for_bit(
    study_of: StudyOf, tmp_path: Path, download: str
) -> None:
    study = replace(study_of(FULL), transport=small_transport(download))
    before, changes = drawn(1), {"n": drawn(2, scale=0.1), "s": drawn(3, scale=0.1)}
    state = state_of(tmp_path, before)
    after = advance(study, state, changes, tmp_path / "1")
    assert after.step is not None
    assert after.step.from_digest == state.digest
    step = Unpacked(after.step.parcel, shards_in_file(after.step.parcel, tmp_path / "1" / STEP))
    largest = max(
        np.abs(change[name]).max() for change in changes.values() for name in change
    )  # values of several tensors share a scale
    for name, tensor in before.items():
        assert (tensor + step[name]).tobytes() == after.weights[name].tobytes()
        mean = 0.25 * changes["n"][name] + 0.75 * changes["s"][name]
        np.testing.assert_allclose(step[name], mean, atol=largest / 126)
    again = advance(study, state, changes, tmp_path / "2")
    assert again.digest == after.digest
    assert (tmp_path / "1" / STEP).read_bytes() == (tmp_path / "2" / STEP).read_bytes()


def test_no_step_is_kept_where_it_would_save_nothing(study_of: StudyOf, tmp_path: Path) -> None:
    changes = {"n": drawn(2), "s": drawn(3)}
    state = state_of(tmp_path, drawn(1))
    whole = replace(study_of(FULL), transport=small_transport("fp32"))
    assert advance(whole, state, changes, tmp_path / "1").step is None
    inside = replace(study_of(FULL), transport=Transport(download="int8"))
    assert advance(inside, state, changes, tmp_path / "2").step is None
    assert not (tmp_path / "2" / STEP).exists()


def test_the_step_of_an_alternating_round_names_the_factors_that_trained(
    study_of: StudyOf, tmp_path: Path
) -> None:
    stages = (replace(FULL, num_rounds=1), replace(LORA, rule="alternate"))
    study = replace(study_of(*stages), transport=small_transport("fp32"))
    before = drawn(1, FACTORS)
    state = replace(state_of(tmp_path, before), round_number=1)
    moving = {"q.lora_B.weight": FACTORS["q.lora_B.weight"]}
    after = advance(study, state, {"n": drawn(2, moving), "s": drawn(3, moving)}, tmp_path / "1")
    assert after.step is not None
    assert after.step.parcel.shapes == moving
    assert after.weights["q.lora_A.weight"].tobytes() == before["q.lora_A.weight"].tobytes()
    assert after.weights["q.lora_B.weight"].tobytes() != before["q.lora_B.weight"].tobytes()


@pytest.mark.parametrize(
    ("outer", "remembered"),
    [
        (OuterStep(), set()),
        (OuterStep(learning_rate=0.7, momentum=0.9), {"momentum"}),
        (OuterStep(kind="adam", learning_rate=0.1), {"momentum", "variance"}),
        (OuterStep(kind="yogi", learning_rate=0.1), {"momentum", "variance"}),
    ],
    ids=["plain", "nesterov", "adam", "yogi"],
)
def test_what_an_outer_step_remembers_lies_beside_the_weights_and_is_used_in_the_next_round(
    study_of: StudyOf, tmp_path: Path, outer: OuterStep, remembered: set[str]
) -> None:
    study = study_of(replace(FULL, outer=outer, ema_decay=0.5))
    changes = {"n": drawn(2), "s": drawn(3)}
    one = advance(study, state_of(tmp_path, drawn(1)), changes, tmp_path / "1")
    two = advance(study, one, changes, tmp_path / "2")
    found = {kind for kind in ("momentum", "variance") if getattr(two, kind) is not None}
    assert found == remembered
    forgetful = advance(study, replace(one, momentum=None, variance=None), changes, tmp_path / "3")
    assert (forgetful.digest != two.digest) == bool(remembered)
    assert two.average is not None
    wanted = 0.5 * one.weights["a"] + 0.5 * two.weights["a"]
    np.testing.assert_allclose(two.average["a"], wanted, rtol=1e-5, atol=1e-6)


def test_the_rule_of_combination_is_the_studys(study_of: StudyOf, tmp_path: Path) -> None:
    study = study_of(replace(FULL, combine=Combination(rule="median")))
    changes = {"n": drawn(2), "s": drawn(3), "w": {n: p + 1e6 for n, p in drawn(4).items()}}
    before = drawn(1)
    after = advance(study, state_of(tmp_path, before), changes, tmp_path / "1")
    middle = np.median([change["a"] for change in changes.values()], axis=0)
    np.testing.assert_allclose(after.weights["a"], before["a"] + middle, rtol=1e-5, atol=1e-5)


def test_the_naive_rule_says_how_far_it_is_from_the_mean_product(
    study_of: StudyOf, tmp_path: Path
) -> None:
    stages = (replace(FULL, num_rounds=1), replace(LORA, rule="joint"))
    before = drawn(1, FACTORS)
    state = replace(state_of(tmp_path, before), round_number=1)
    changes = {"n": drawn(2, FACTORS), "s": drawn(3, FACTORS)}
    (tmp_path / "1").mkdir()
    lazily = {site: as_tensors(change) for site, change in changes.items()}
    reached = next_round(study_of(*stages), state, lazily, SHARES, tmp_path / "1")
    products = {
        site: (before["q.lora_B.weight"] + change["q.lora_B.weight"]).astype(np.float64)
        @ (before["q.lora_A.weight"] + change["q.lora_A.weight"])
        for site, change in changes.items()
    }
    mean = sum(SHARES[site] * product for site, product in products.items())
    after = load_arrays(state_path(tmp_path / "1", "weights"))
    naive = after["q.lora_B.weight"].astype(np.float64) @ after["q.lora_A.weight"]
    assert reached.gap == pytest.approx(
        np.linalg.norm(mean - naive) / np.linalg.norm(mean), rel=1e-4
    )


def test_weights_that_would_be_infinite_stop_the_round(study_of: StudyOf, tmp_path: Path) -> None:
    huge = {name: np.full(shape, 3e38, np.float32) for name, shape in SHAPES.items()}
    study = study_of(replace(FULL, outer=OuterStep(learning_rate=2.0)))
    with pytest.raises(Diverged, match="round 1 would make the model's weights infinite"):
        advance(study, state_of(tmp_path, drawn(1)), {"n": huge, "s": huge}, tmp_path / "1")
    assert not state_path(tmp_path / "1", "weights").exists()


def test_a_step_that_was_written_is_read_back(study_of: StudyOf, tmp_path: Path) -> None:
    study = replace(study_of(FULL), transport=small_transport("int8"))
    changes = {"n": drawn(2), "s": drawn(3)}
    after = advance(study, state_of(tmp_path, drawn(1)), changes, tmp_path / "1")
    assert after.step is not None
    content = json.loads((tmp_path / "1" / "step.json").read_text())
    assert tuple(content["parcel"]["digests"]) == after.step.parcel.digests
    assert len(after.step.parcel.digests) == len(after.step.parcel.plan) > 1
