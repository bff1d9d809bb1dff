"""Phantoms look like their patient, their findings and their hospital."""

import numpy as np
import pytest

from model.conditioning import FINDINGS
from simulation.phantom import Phantom
from simulation.style import STYLES
from simulation.texture import Field

SIZE = 64


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(SIZE)


def rendered(
    phantom: Phantom,
    *findings: str,
    patient: int = 7,
    study: int = 1,
    sex: str = "M",
    view: str = "PA",
    style: str = "plain",
) -> Field:
    return phantom.render(
        findings=frozenset(findings),
        patient_seed=patient,
        study_seed=study,
        sex=sex,
        age=50,
        view=view,
        style=STYLES[style],
    )


def test_the_same_seeds_give_the_same_picture(phantom: Phantom) -> None:
    picture = rendered(phantom, "edema")
    np.testing.assert_array_equal(picture, rendered(Phantom(SIZE), "edema"))
    assert picture.dtype == np.float32
    assert picture.shape == (SIZE, SIZE)
    assert 0.0 <= picture.min() < picture.max() <= 1.0


def test_studies_of_one_patient_are_closer_than_those_of_two(phantom: Phantom) -> None:
    def distance(first: Field, second: Field) -> float:
        return float(np.abs(first - second).mean())

    same = [
        distance(rendered(phantom, patient=p), rendered(phantom, patient=p, study=2))
        for p in range(10)
    ]
    other = [
        distance(rendered(phantom, patient=p), rendered(phantom, patient=p + 50)) for p in range(10)
    ]
    assert np.mean(same) < np.mean(other)


SIGNS = tuple(finding for finding in FINDINGS if finding != "no_finding")


def trace(phantom: Phantom, finding: str, study: int) -> Field:
    """What a finding alone changes in one study."""
    return rendered(phantom, finding, study=study) - rendered(phantom, study=study)


@pytest.mark.parametrize("finding", SIGNS)
def test_each_finding_changes_its_study_visibly_and_only_in_places(
    phantom: Phantom, finding: str
) -> None:
    changed = np.stack([np.abs(trace(phantom, finding, study)) for study in range(4)])
    assert (changed > 0.05).mean() > 0.008  # 33 of 4096 pixels
    assert (changed > 0.05).mean() < 0.35


def test_no_two_findings_leave_the_same_trace(phantom: Phantom) -> None:
    traces = np.stack([trace(phantom, finding, 1).ravel() for finding in SIGNS])
    alike = np.corrcoef(traces) - np.eye(len(SIGNS))
    assert alike.max() < 0.8


def test_no_finding_is_the_healthy_picture(phantom: Phantom) -> None:
    np.testing.assert_array_equal(rendered(phantom, "no_finding"), rendered(phantom))


def heart_width(picture: Field) -> int:
    """Bright pixels in the rows of the heart, between the lungs."""
    rows = picture[34:40, 12:52].mean(axis=0)
    return int(np.count_nonzero(rows > 0.5 * (rows.min() + rows.max())))


def test_the_heart_is_larger_in_ap_and_larger_still_with_cardiomegaly(phantom: Phantom) -> None:
    def mean_width(*findings: str, view: str) -> float:
        pictures = [rendered(phantom, *findings, patient=p, view=view) for p in range(12)]
        return float(np.mean([heart_width(picture) for picture in pictures]))

    pa, ap = mean_width(view="PA"), mean_width(view="AP")
    assert 1.4 * pa < ap  # nearness and shallow breath alone make 1.29
    assert pa + 2 < mean_width("cardiomegaly", view="PA")


def test_women_have_denser_lower_lungs(phantom: Phantom) -> None:
    women, men = (
        np.mean([rendered(phantom, patient=p, sex=sex)[36:46, 14:50].mean() for p in range(12)])
        for sex in ("F", "M")
    )
    assert women > men + 0.01


def test_hospitals_differ_in_tone_and_noise(phantom: Phantom) -> None:
    means = {name: rendered(phantom, style=name)[8:-8, 8:-8].mean() for name in STYLES}
    assert means["portable"] > means["plain"] > means["crisp"]


def test_a_view_or_finding_without_picture_is_refused(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="LATERAL"):
        rendered(phantom, view="LATERAL")
    with pytest.raises(ValueError, match="gout"):
        rendered(phantom, "gout")
    with pytest.raises(ValueError, match="at least 32"):
        Phantom(16)
