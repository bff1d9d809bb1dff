"""What a probe learns on the spot, what it says it has not learned, and that it does so again alike."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.conditioning import Metadata, Schema
from model.evaluation.auroc import auroc
from model.evaluation.encoders.builtin import ProbeEncoder
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.probe import Probe, ProbeUntrainable, train_probe
from model.evaluation.probe_network import evened, initial_probe, to_probe_size
from model.evaluation.probe_training import loss, weights
from model.evaluation.questions import UNKNOWN, Question, answerable, classes

SCHEMA = Schema(("nodule", "effusion", "rarity"))
STATES = ("absent", "present", "uncertain", "not_mentioned")


def toy(num: int, seed: int, size: int = 32) -> tuple[Tensor, NDArray[np.float32]]:
    """Grey noise in which sex, age, a nodule and an effusion can be seen; the effusion is rare."""
    rng = np.random.default_rng(seed)
    images = 0.1 * rng.normal(size=(num, 1, size, size))
    rows, unit = [], size // 16
    for picture in images[:, 0]:
        sex, age = "FM"[int(rng.integers(2))], float(rng.uniform(20, 80))
        nodule, effusion = rng.random() < 0.5, rng.random() < 0.1
        picture[2 * unit : 4 * unit, :] += 0.8 if sex == "M" else 0.0
        picture[:, : max(1, round(age / 80 * 5 * unit))] += 0.6
        place = int(rng.integers(6 * unit, 10 * unit))
        picture[place : place + unit, place : place + unit] += 1.2 * nodule
        picture[-2 * unit :, 8 * unit :] += 0.9 * effusion
        unsure = rng.random() < 0.2
        findings = {
            "nodule": "uncertain" if unsure else "present" if nodule else "absent",
            "effusion": "present" if effusion else "not_mentioned",
            "rarity": "absent",
        }
        rows.append(
            SCHEMA.row(
                Metadata(
                    age=None if unsure else age,
                    sex=sex,
                    view="PA",
                    race=None,
                    site=None,
                    manufacturer=None,
                    findings=findings,
                )
            )
        )
    return torch.from_numpy(images).float().clamp(-1, 1), np.stack(rows)


@pytest.fixture(scope="module")
def probe() -> Probe:
    return train_probe(*toy(400, 1), SCHEMA, seed=1, num_steps=120)


@pytest.mark.slow
def test_a_probe_reads_attributes_back_from_pictures_that_it_has_not_seen(probe: Probe) -> None:
    images, rows = toy(200, 2)
    found, true = probe.predict(images), classes(rows, SCHEMA)
    for name in ("sex", "nodule", "effusion"):
        known = true[name] != UNKNOWN
        assert auroc(found.states[name][known, 1], true[name][known] == 1) > 0.9, name
    known = np.isfinite(rows[:, 0])
    error = np.abs(found.age - rows[:, 0])[known].mean()
    assert error < 0.6 * np.abs(rows[known, 0] - rows[known, 0].mean()).mean()


def test_a_probe_says_what_it_has_not_learned_and_why(probe: Probe) -> None:
    assert {question.name for question in probe.questions} == {"sex", "nodule", "effusion"}
    assert probe.answers_age
    assert set(probe.unanswered) == {"view", "race", "site", "manufacturer", "rarity"}
    assert probe.unanswered["rarity"] == "0 records with it and 400 without, 20 of each are needed"
    assert probe.unanswered["view"] == "1 values occur, 1 often enough: 20 of each are needed"
    assert set(probe.predict(torch.zeros(1, 1, 32, 32)).states) == {"sex", "nodule", "effusion"}


def test_probabilities_add_up_to_one_at_any_size(probe: Probe) -> None:
    for size in (32, 20, 96):
        for probabilities in probe.predict(torch.rand(3, 1, size, size)).states.values():
            assert probabilities.shape == (3, 2)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_a_rare_finding_is_judged_as_if_it_were_frequent(probe: Probe) -> None:
    images, rows = toy(200, 3)
    found = probe.predict(images).states["effusion"][:, 1] > 0.5
    present = classes(rows, SCHEMA)["effusion"] == 1
    assert found[present].mean() > 0.7
    assert found[~present].mean() < 0.3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_probe_and_another_seed_another() -> None:
    images, rows = toy(120, 4)
    one, same, other = (
        train_probe(images, rows, SCHEMA, seed=seed, num_steps=5).features(images[:4])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 64, 96, 512])
def test_a_probe_is_trained_at_every_size(size: int) -> None:
    images, rows = toy(60, 5, size)
    probe = train_probe(images, rows, SCHEMA, seed=1, num_steps=1)
    assert probe.image_size == min(size, 128)
    assert probe.features(images[:3]).shape == (3, probe.num_features)


def test_a_picture_has_the_same_features_in_every_company(probe: Probe) -> None:
    images, _ = toy(5, 6)
    together, alone = probe.features(images), probe.features(images[2:3])
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-5)


def test_the_builtin_encoder_says_what_it_is(probe: Probe) -> None:
    encoder = ProbeEncoder(probe, trained_on="400 toys")
    assert isinstance(encoder, Encoder)
    assert encoder.name == "built-in probe, trained on 400 toys"
    assert encoder.features(torch.zeros(2, 1, 32, 32)).shape == (2, encoder.num_features)
    assert encoder.features(torch.zeros(0, 1, 32, 32)).shape == (0, encoder.num_features)


def test_evening_takes_out_what_a_machine_does() -> None:
    images = toy(4, 7, 64)[0] + 2 * torch.rand(4, 1, 64, 64)
    torch.testing.assert_close(evened(1.3 * images + 0.2), evened(images), atol=0.03, rtol=0.03)


def test_large_pictures_are_reduced_and_small_ones_left_alone() -> None:
    small = torch.rand(2, 1, 40, 40)
    assert to_probe_size(small) is small
    assert to_probe_size(torch.rand(1, 1, 512, 512)).shape == (1, 1, 128, 128)


def test_a_finding_not_mentioned_is_not_present_and_an_uncertain_one_unknown() -> None:
    rows = np.stack([SCHEMA.null_row()] * 5)
    rows[:4, SCHEMA.names.index("nodule")] = [1 + STATES.index(state) for state in STATES]
    assert classes(rows, SCHEMA)["nodule"].tolist() == [0, 1, UNKNOWN, 0, UNKNOWN]


def test_a_value_that_is_too_rare_is_never_answered() -> None:
    images, rows = toy(80, 8)
    column = SCHEMA.names.index("view")
    rows[:, column], rows[:40, column], rows[40:45, column] = 1, 2, 3
    (view,) = (q for q in answerable(rows, SCHEMA)[0] if q.name == "view")
    np.testing.assert_allclose(view.shares, [35 / 75, 40 / 75, 0, 0])
    probe = train_probe(images, rows, SCHEMA, seed=1, num_steps=2)
    found = probe.predict(images[:3]).states["view"]
    assert (found[:, 2:] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_finding_so_rare_that_its_weight_was_capped_is_judged_as_if_it_were_frequent() -> None:
    """A network that knows nothing answers .5 and .2, what weights of .5 / .99 and 20 left of .99 and .01."""
    network = initial_probe(3, 16, torch.Generator().manual_seed(1)).eval()
    torch.nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.tensor([0.0, math.log(0.5), math.log(0.2)])
    probe = Probe(
        network=network,
        image_size=16,
        questions=(Question(name="nodule", shares=np.array([0.99, 0.01])),),
        answers_age=True,
        unanswered={},
    )
    found = probe.predict(torch.zeros(1, 1, 16, 16)).states["nodule"]
    np.testing.assert_allclose(found, [[0.5, 0.5]], rtol=1e-6)


def test_what_is_not_known_of_a_record_changes_no_weight() -> None:
    question = Question(name="sex", shares=np.array([0.5, 0.5]))
    outputs = torch.ones(3, 3, requires_grad=True)
    targets = torch.tensor([[0.4, 1.0], [math.nan, 0.0], [0.2, UNKNOWN]])
    (gradient,) = torch.autograd.grad(loss(outputs, targets, (question,)), outputs)
    assert gradient[[1, 2, 2], [0, 1, 2]].abs().sum() == 0
    assert (gradient[[0, 2], 0] != 0).all()
    assert (gradient[:2, 1:] != 0).all()


def test_learned_values_have_a_like_say_in_the_loss() -> None:
    question = Question(name="view", shares=np.array([0.9, 0.1, 0.0]))
    torch.testing.assert_close(weights(question), torch.tensor([0.5 / 0.9, 0.5 / 0.1, 0.0]))
    outputs = torch.zeros(10, 4, requires_grad=True)
    targets = torch.tensor([[math.nan, 0.0]] * 9 + [[math.nan, 1.0]])
    (gradient,) = torch.autograd.grad(loss(outputs, targets, (question,)), outputs)
    pull = gradient[:, 1:3].sum(dim=0)
    torch.testing.assert_close(pull[0], pull[1])  # nine of one and one of the other pull alike


def test_records_that_teach_nothing_are_refused() -> None:
    rows = np.stack([SCHEMA.null_row()] * 30)
    with pytest.raises(ProbeUntrainable, match="cannot be trained on these 30 records"):
        train_probe(torch.zeros(30, 1, 16, 16), rows, SCHEMA, seed=1, num_steps=1)


def test_a_probe_without_ages_answers_the_rest() -> None:
    images, rows = toy(80, 9)
    rows[:, 0] = np.nan
    probe = train_probe(images, rows, SCHEMA, seed=1, num_steps=1)
    assert np.isnan(probe.predict(images[:2]).age).all()
    assert probe.unanswered["age"] == "0 ages are known, 20 are needed"
