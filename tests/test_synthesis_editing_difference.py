"""The picture that shows what an edit changed."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthesis.editing.difference import changed_share, difference_png

SIDE = 16
GREY = np.full((SIDE, SIDE), -0.2, dtype=np.float32)


def brightened() -> NDArray[np.float32]:
    """Brighter in the upper left quarter, darker in the lower right one."""
    after = GREY.copy()
    after[: SIDE // 2, : SIDE // 2] += 0.3
    after[SIDE // 2 :, SIDE // 2 :] -= 0.6
    return after


def shown(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.int64]:
    """The picture, (row, column, colour)."""
    with Image.open(BytesIO(difference_png(before, after, edits="sex: M"))) as picture:
        return np.asarray(picture.convert("RGB")).astype(np.int64)


def panel(picture: NDArray[np.int64], number: int, right: float, down: float) -> NDArray[np.int64]:
    """Colour at a place of one of the three panels."""
    height, width = picture.shape[:2]
    left, step = 0.01 * width, 0.3 * width
    place = picture[
        round(height * (0.20 + 0.6 * down)), round(left + step * (number + right) * 1.01)
    ]
    return np.asarray(place)


def test_brighter_is_red_darker_is_blue_and_what_stayed_is_white() -> None:
    picture = shown(GREY, brightened())
    red, _, blue = panel(picture, 2, 0.25, 0.25)
    assert red > blue + 40
    red, _, blue = panel(picture, 2, 0.7, 0.8)
    assert blue > red + 40
    assert panel(picture, 2, 0.7, 0.25).min() > 240


def test_before_and_after_are_as_bright_as_they_are() -> None:
    picture = shown(GREY, brightened())
    before, after = panel(picture, 0, 0.25, 0.25), panel(picture, 1, 0.25, 0.25)
    assert np.abs(before - 127.5 * 0.8).max() < 3
    assert np.abs(after - 127.5 * 1.1).max() < 3


def test_a_picture_that_stayed_as_it_was_is_shown_without_colour() -> None:
    picture = shown(GREY, GREY)
    assert panel(picture, 2, 0.5, 0.5).min() > 240
    assert changed_share(GREY, GREY) == 0.0


def test_half_of_the_picture_counts_as_changed() -> None:
    assert changed_share(GREY, brightened()) == 0.5
