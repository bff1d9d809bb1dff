"""Pictures on one sheet, with the right greys in the right places."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.pictures import encode_png, sample_grid, save_png


def test_pictures_lie_row_by_row_between_thin_lines() -> None:
    images = torch.linspace(-1, 1, 3).view(3, 1, 1, 1).expand(3, 1, 4, 5)
    grid = sample_grid(images, 2)
    assert grid.shape == (4 + 2 + 4, 5 + 2 + 5)
    assert grid.dtype == np.uint8
    assert set(grid[:4, :5].flat) == {0}
    assert set(grid[:4, 7:].flat) == {128}
    assert set(grid[6:, :5].flat) == {255}
    assert not grid[4:6].any()
    assert not grid[6:, 7:].any()


def test_values_outside_the_range_are_clipped() -> None:
    images = torch.tensor([-7.0, 7.0]).view(2, 1, 1, 1)
    assert sample_grid(images, 1)[[0, -1], 0].tolist() == [0, 255]


def test_no_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="columns is 0"):
        sample_grid(torch.zeros(1, 1, 2, 2), 0)


def test_a_saved_picture_is_read_back_unchanged(tmp_path: Path) -> None:
    picture = np.arange(60, dtype=np.uint8).reshape(6, 10)
    save_png(tmp_path / "grid.png", picture)
    with Image.open(tmp_path / "grid.png") as file:
        np.testing.assert_array_equal(np.asarray(file), picture)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_encoded_picture_keeps_every_bit_and_says_what_it_is(
    kind: type[np.unsignedinteger],
) -> None:
    largest = np.iinfo(kind).max
    picture = np.array([[0, 1, largest], [largest - 1, 7, 300 % largest]], dtype=kind)
    with Image.open(BytesIO(encode_png(picture, {"Description": "grey, 70 %"}))) as file:
        np.testing.assert_array_equal(np.asarray(file), picture)
        assert file.text["Description"] == "grey, 70 %"  # type: ignore[attr-defined]
