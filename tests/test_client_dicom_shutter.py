"""What a shutter or a collimator covers is cut away, if its edges can be believed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset

from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.shutter import Opening, opening_of

Build = Callable[..., FileDataset]
Save = Callable[..., Path]
SHAPE = (100, 80)


def header(**elements: object) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def rectangle(binding: str, left: int, right: int, top: int, bottom: int) -> Dataset:
    return header(
        **{
            f"{binding}Shape": "RECTANGULAR",
            f"{binding}LeftVerticalEdge": left,
            f"{binding}RightVerticalEdge": right,
            f"{binding}UpperHorizontalEdge": top,
            f"{binding}LowerHorizontalEdge": bottom,
        }
    )


def free_share(opening: Opening | None) -> float:
    assert opening is not None
    window = np.zeros(SHAPE, np.bool_)
    window[opening.rows, opening.columns] = True if opening.mask is None else opening.mask
    return float(window.mean())


@pytest.mark.parametrize("binding", ["Shutter", "Collimator"])
def test_a_rectangle_leaves_its_rows_and_columns(binding: str) -> None:
    opening = opening_of(rectangle(binding, 11, 70, 6, 95), SHAPE)
    assert opening == Opening(rows=slice(5, 95), columns=slice(10, 70), mask=None)


def test_a_circle_leaves_a_disc() -> None:
    found = header(
        ShutterShape="CIRCULAR", CenterOfCircularShutter=[50, 40], RadiusOfCircularShutter=40
    )
    assert free_share(opening_of(found, SHAPE)) == pytest.approx(np.pi * 40**2 / 8000, abs=0.02)


def test_a_polygon_leaves_its_inside() -> None:
    corners = [1, 1, 1, 80, 100, 80, 50, 1]
    found = header(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=corners)
    assert free_share(opening_of(found, SHAPE)) == pytest.approx(0.75, abs=0.02)


def test_of_several_shapes_the_common_part_is_left() -> None:
    found = rectangle("Shutter", 1, 80, 1, 80)
    found.update(rectangle("Collimator", 1, 80, 11, 100))
    assert opening_of(found, SHAPE) == Opening(rows=slice(10, 80), columns=slice(0, 80), mask=None)


def test_a_shape_that_cannot_be_does_not_spoil_the_others() -> None:
    found = rectangle("Shutter", 30, 40, 6, 95)
    found.update(rectangle("Collimator", 1, 80, 11, 100))
    assert opening_of(found, SHAPE) == Opening(rows=slice(10, 100), columns=slice(0, 80), mask=None)


@pytest.mark.parametrize(
    "nonsense",
    [
        rectangle("Collimator", -5, 70, 6, 95),
        rectangle("Shutter", 11, 170, 6, 95),
        rectangle("Shutter", 70, 11, 6, 95),
        rectangle("Shutter", 30, 40, 6, 95),
        rectangle("Shutter", 0, 80, 0, 100),
        header(ShutterShape="RECTANGULAR"),
        header(
            ShutterShape="CIRCULAR", CenterOfCircularShutter=[500, 40], RadiusOfCircularShutter=400
        ),
        header(
            ShutterShape="CIRCULAR", CenterOfCircularShutter=[50, 40], RadiusOfCircularShutter=-90
        ),
        header(ShutterShape="CIRCULAR"),
        header(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 80]),
        header(
            ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 900, 100, 80, 50, 1]
        ),
        header(ShutterShape="STAR"),
        header(),
    ],
)
def test_shapes_that_cannot_be_are_ignored(nonsense: Dataset) -> None:
    assert opening_of(nonsense, SHAPE) is None


def test_what_is_covered_is_neither_seen_nor_counted(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating]
) -> None:
    inside = read_file(saved(radiograph_of(chest[:80, 10:90])), image_size=64, policy=ReadPolicy())
    covered = chest.copy()
    covered[80:] = covered[:, :10] = covered[:, 90:] = np.random.default_rng(1).random()
    covered[::7, :10] = 1.0
    path = saved(
        radiograph_of(covered),
        ShutterShape="RECTANGULAR",
        ShutterLeftVerticalEdge=11,
        ShutterRightVerticalEdge=90,
        ShutterUpperHorizontalEdge=1,
        ShutterLowerHorizontalEdge=80,
    )
    found = read_file(path, image_size=64, policy=ReadPolicy())
    assert isinstance(inside, Radiograph)
    assert isinstance(found, Radiograph)
    np.testing.assert_array_equal(found.image, inside.image)


def test_outside_a_round_shutter_it_is_black(
    radiograph_of: Build, saved: Save, chest: NDArray[np.floating]
) -> None:
    path = saved(
        radiograph_of(chest * 0.5 + 0.5),
        ShutterShape="CIRCULAR",
        CenterOfCircularShutter=[48, 48],
        RadiusOfCircularShutter=46,
    )
    found = read_file(path, image_size=64, policy=ReadPolicy())
    assert isinstance(found, Radiograph)
    corners = found.image[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
    assert (found.image[16:48, 16:48] > 0).mean() > 0.9
