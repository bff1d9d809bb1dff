"""Who is missing from a table of two: a tenth, another tenth each time, and always the same ones of the same table."""

import math

import numpy as np

from privacy.left_out import ONE_IN, left_out

PATIENTS = np.arange(20_000, dtype=np.uint64) + np.uint64(2**63)


def test_a_tenth_is_left_out() -> None:
    share = left_out(PATIENTS, "age edema").mean()
    assert abs(share - 1 / ONE_IN) < 5 * math.sqrt(0.09 / len(PATIENTS))


def test_another_tenth_is_left_out_of_another_table() -> None:
    both = left_out(PATIENTS, "age edema") & left_out(PATIENTS, "sex edema")
    assert abs(both.mean() - 1 / ONE_IN**2) < 5 * math.sqrt(0.01 / len(PATIENTS))


def test_the_lot_of_a_patient_says_nothing_of_others_and_never_changes() -> None:
    lots = left_out(PATIENTS, "age edema")
    np.testing.assert_array_equal(left_out(PATIENTS[::-7], "age edema"), lots[::-7])


def test_all_records_of_a_patient_are_left_out_or_none() -> None:
    lots = left_out(np.repeat(PATIENTS[:500], 3), "age edema").reshape(-1, 3)
    assert set(lots.sum(axis=1).tolist()) == {0, 3}


def test_nobody_is_left_out_of_nobody() -> None:
    assert left_out(PATIENTS[:0], "age edema").shape == (0,)
