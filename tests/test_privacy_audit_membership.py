"""Who was in the training, from losses alone: patients count, not radiographs, and a base takes out what is hard."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.audit.membership import Membership, membership, patient_means

NUM_PATIENTS = 80


def guess(
    losses: NDArray[np.float64], base_losses: NDArray[np.float64] | None = None
) -> Membership:
    """Two radiographs a patient, half of the patients held out."""
    patients = np.repeat(np.arange(NUM_PATIENTS), 2)
    return membership(
        losses,
        patients=patients,
        held_out=patients >= NUM_PATIENTS // 2,
        generator=np.random.default_rng(1),
        base_losses=base_losses,
    )


def hardness(seed: int) -> NDArray[np.float64]:
    """Losses that say nothing of membership."""
    return np.random.default_rng(seed).normal(1.0, 0.3, 2 * NUM_PATIENTS)


def learned(amount: float) -> NDArray[np.float64]:
    """How much lower the losses of the training patients become."""
    return np.repeat([amount, 0.0], NUM_PATIENTS)


def test_losses_that_say_nothing_tell_nobody() -> None:
    auc = guess(hardness(2)).raw.auc
    assert auc.low < 0.5 < auc.high


def test_lower_losses_of_the_training_patients_give_them_away() -> None:
    told = guess(hardness(2) - learned(0.6)).raw
    assert told.auc.low > 0.9
    assert (told.num_members, told.num_others) == (NUM_PATIENTS // 2, NUM_PATIENTS // 2)


def test_higher_losses_of_the_training_patients_do_not() -> None:
    assert guess(hardness(2) + learned(0.6)).raw.auc.high < 0.1


def test_a_base_takes_out_how_hard_a_radiograph_is() -> None:
    base = hardness(2)
    found = guess(base - learned(0.05), base)
    assert found.raw.auc.value < 0.7
    assert found.calibrated is not None
    assert found.calibrated.auc.value == 1.0
    assert found.strongest is found.calibrated


def test_a_base_that_hides_the_training_does_not_hide_it_from_the_report() -> None:
    losses = hardness(2) - learned(0.6)
    found = guess(losses, losses)
    assert found.strongest is found.raw


def test_radiographs_of_a_patient_are_averaged() -> None:
    means = patient_means(np.array([1.0, 3.0, 5.0]), np.array([7, 7, 4], dtype=np.uint64))
    np.testing.assert_allclose(means, [5.0, 2.0])


def test_a_hospital_that_holds_nobody_out_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="both must be there"):
        membership(
            np.ones(2),
            patients=np.arange(2),
            held_out=np.zeros(2, dtype=np.bool_),
            generator=np.random.default_rng(1),
        )
