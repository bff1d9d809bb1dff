"""`fedcxr distill`: a model of few steps from a model's own pictures, resumed where it was stopped."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.adapter import initial_adapter
from model.arrays import Arrays, digest_arrays
from model.checkpoint import load_model
from model.conditioning import Schema
from model.config import AdapterConfig, model_config
from model.folder import save_model
from model.generate import open_generator, usual_sampling
from model.guidance import Guidance
from model.manifest import Manifest
from model.sampler import Sampling, sample, starting_noise
from synthesis.distillation.conditions import AGES, random_conditions
from synthesis.distillation.distil import Distillation, Distilled, distil
from synthesis.distillation.progress import no_progress

SIDE = 16
ADAPTER = AdapterConfig(rank=2, alpha=2.0)
WANTED = Distillation(
    num_steps=2,
    num_pairs=40,
    guidance=1.5,
    training_steps=3,
    batch_size=4,
    learning_rate=1e-3,
    seed=1,
)
Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _quick_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthesis.distillation.distil.TEACHER_STEPS", 3)


@pytest.fixture
def manifest(random_weights: Arrays) -> Manifest:
    return Manifest(
        model=model_config("tiny", SIDE),
        findings=Schema().findings,
        kind="full",
        adapter=None,
        study_name="toy",
        study_digest="ab" * 32,
        rounds=3,
        sites=("a", "b"),
        parent_digest=None,
        weights_digest=digest_arrays(random_weights),
        site_numbers={"a": 1, "b": 2},
    )


@pytest.fixture
def teacher(memory_path: Path, manifest: Manifest, random_weights: Arrays) -> Path:
    save_model(memory_path / "teacher", random_weights, manifest)
    return memory_path / "teacher"


def _distil(teacher: Path, name: str = "student", **changes: object) -> Distilled:
    return distil(
        teacher,
        teacher.parent / name,
        replace(WANTED, **changes),  # type: ignore[arg-type]
        adapter=None,
        prompts=None,
        on_progress=no_progress,
    )


def _stopped(teacher: Path, *, what: str, at: int, name: str = "student") -> None:
    """Interrupt a distillation as a person would."""

    def stop(doing: str, done: int, _of: int, _loss: float | None) -> None:
        if (doing, done) == (what, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(teacher, teacher.parent / name, WANTED, adapter=None, prompts=None, on_progress=stop)


def test_a_student_is_a_model_that_draws_in_its_own_few_steps(
    teacher: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    student = teacher.parent / "student"
    words = ("--steps", 2, "--pairs", 8, "--training-steps", 2, "--batch-size", 4)
    code, out, err = fedcxr("distill", teacher, student, *words, "--json")
    assert (code, err) == (0, "")
    _, manifest = load_model(student)
    assert json.loads(out)["weights_digest"] == manifest.weights_digest
    assert manifest.distilled_steps == 2
    assert manifest.parent_digest == load_model(teacher)[1].weights_digest
    assert (manifest.study_name, manifest.rounds, manifest.sites) == ("toy", 3, ("a", "b"))
    sampling = usual_sampling(manifest)
    assert (sampling.num_steps, sampling.method, sampling.guidance.scale) == (2, "euler", 1.0)
    assert sorted(path.name for path in teacher.parent.iterdir()) == ["student", "teacher"]
    picture = teacher.parent / "p.png"
    assert fedcxr("generate", student, "--n", 1, "--out", picture)[0] == 0
    assert picture.exists()


def test_the_same_seed_makes_the_same_student_and_another_seed_another(teacher: Path) -> None:
    digests = [
        _distil(teacher, name, seed=seed).manifest.weights_digest
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_what_was_drawn_before_an_interruption_is_not_drawn_again(teacher: Path) -> None:
    whole = _distil(teacher, "whole").manifest.weights_digest
    _stopped(teacher, what="drawing", at=32)
    told: list[tuple[str, int]] = []
    finished = distil(
        teacher,
        teacher.parent / "student",
        WANTED,
        adapter=None,
        prompts=None,
        on_progress=lambda what, done, _of, _loss: told.append((what, done)),
    )
    assert told == [("drawing", 40), ("training", 1), ("training", 2), ("training", 3)]
    assert finished.manifest.weights_digest == whole


def test_a_training_that_was_stopped_leaves_no_model_and_starts_again(teacher: Path) -> None:
    _stopped(teacher, what="training", at=2)
    student = teacher.parent / "student"
    assert not student.exists()
    told: list[str] = []
    distil(
        teacher,
        student,
        WANTED,
        adapter=None,
        prompts=None,
        on_progress=lambda what, _done, _of, _loss: told.append(what),
    )
    assert set(told) == {"training"}
    assert load_model(student)[1].distilled_steps == 2


def test_the_beginning_of_another_distillation_is_not_overwritten(
    teacher: Path, refused: Refused
) -> None:
    _stopped(teacher, what="drawing", at=32)
    student = teacher.parent / "student"
    message = refused("distill", teacher, student, "--steps", 2, "--pairs", 40)
    assert "student.part holds the beginning of another distillation" in message


def test_a_student_cannot_be_a_teacher(teacher: Path, refused: Refused) -> None:
    _distil(teacher)
    student = teacher.parent / "student"
    assert "was distilled to 2 steps already" in refused("distill", student, teacher.parent / "x")
    assert "holds a model already" in refused("distill", teacher, student)


def test_pictures_that_would_not_fit_on_the_disk_are_not_begun(
    teacher: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 10

    monkeypatch.setattr("synthesis.distillation.ways.shutil.disk_usage", lambda _path: Full)
    message = refused("distill", teacher, teacher.parent / "student", "--pairs", 4)
    assert "ask for fewer pairs" in message


def test_with_an_adapter_the_student_descends_from_it(teacher: Path, manifest: Manifest) -> None:
    generator = torch.Generator().manual_seed(1)
    arrays = {
        name: array + np.float32(0.1)
        for name, array in initial_adapter(manifest.model, ADAPTER, generator).items()
    }
    its = replace(
        manifest,
        kind="adapter",
        adapter=ADAPTER,
        rounds=5,
        sites=("b", "c"),
        parent_digest=manifest.weights_digest,
        weights_digest=digest_arrays(arrays),
    )
    save_model(teacher.parent / "adapter", arrays, its)
    common = {"prompts": None, "on_progress": no_progress}
    plain = distil(teacher, teacher.parent / "p", WANTED, adapter=None, **common)  # type: ignore[arg-type]
    adapted = distil(
        teacher,
        teacher.parent / "student",
        WANTED,
        adapter=teacher.parent / "adapter",
        **common,  # type: ignore[arg-type]
    )
    assert adapted.manifest.parent_digest == its.weights_digest
    assert (adapted.manifest.rounds, adapted.manifest.sites) == (5, ("a", "b", "c"))
    assert adapted.manifest.weights_digest != plain.manifest.weights_digest
    assert open_generator(teacher.parent / "student").manifest.kind == "full"


def test_a_table_of_prompts_says_what_is_learned(teacher: Path) -> None:
    path = teacher.parent / "prompts.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("age", "sex"), ("70", "F"), ("30", "")])
    seen: list[np.ndarray] = []

    def look(what: str, _done: int, _of: int, _loss: float | None) -> None:
        if what == "training":
            seen.append(np.load(teacher.parent / "student.part" / "points.npy"))

    student = teacher.parent / "student"
    distil(teacher, student, WANTED, adapter=None, prompts=path, on_progress=look)
    generator = open_generator(teacher)
    rows = torch.from_numpy(np.tile(Schema().null_row(), (2, 1)))
    rows[:, 0], rows[0, 1] = torch.tensor([70.0, 30.0]), 1
    noise = starting_noise((1, SIDE, SIDE), seed=WANTED.seed, numbers=(38, 39))
    sampling = Sampling(num_steps=4, guidance=Guidance(scale=1.5), method="heun")
    drawn = sample(generator.network, rows, noise, sampling, image_size=SIDE)
    np.testing.assert_allclose(seen[0][38:, -1], drawn, rtol=2e-3, atol=2e-3)  # half precision


def test_made_up_conditions_know_any_share_of_the_attributes() -> None:
    schema = Schema()
    rows = random_conditions(schema, (2, 5), 4000, np.random.default_rng(1))
    known = np.where(np.arange(rows.shape[1]) == 0, ~np.isnan(rows), rows > 0)
    # A share that is uniform over 0 to 1 for each row: mean 1/2, deviation about 1/sqrt(12) and a little.
    assert known.mean() == pytest.approx(0.5, abs=0.02)
    assert 0.28 < known.mean(axis=1).std() < 0.34
    ages = rows[known[:, 0], 0]
    assert AGES[0] <= ages.min() < 20
    assert 90 < ages.max() <= AGES[1]
    assert set(np.unique(rows[:, schema.names.index("site")])) == {0.0, 2.0, 5.0}
    edema = rows[:, schema.names.index("edema")]
    assert np.mean(edema[edema > 0] == 2) == pytest.approx(0.15, abs=0.03)


def test_a_model_without_numbered_hospitals_is_never_asked_for_one() -> None:
    rows = random_conditions(Schema(), (), 100, np.random.default_rng(2))
    assert not rows[:, Schema().names.index("site")].any()


def test_a_condition_has_every_size_of_subset_and_only_values_that_exist() -> None:
    schema = Schema()
    rows = random_conditions(schema, (1,), 2000, np.random.default_rng(3))
    limits = np.array(schema.vocabulary[1:])
    assert (rows[:, 1:] >= 0).all()
    assert (rows[:, 1:] <= limits).all()
    assert (rows[:, 1:].max(axis=0) == np.where(limits == 32, 1, limits)).all()
