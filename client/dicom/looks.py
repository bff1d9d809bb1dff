"""What the small picture itself tells of the way it was taken: frontal or lateral, upright or not.

Both statistics are correlations on a thumbnail and cost nothing beside the reading. They were measured on
1,111 frontal radiographs of NIH ChestX-ray14 (Wang et al., "ChestX-ray8", CVPR 2017), which also gave the
average chest below. That a chest is mirrored does not show: heart and stomach point the same way in only
87 % of upright pictures, so that no threshold finds more than a fifth of the mirrored ones at one false
alarm in a hundred.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Thumbnail = NDArray[np.float64]

_SIDE = 64
_MAX_SHIFT = 4
_MIN_LIKENESS_OF_SIDES = 0.6

# Brightness of the average chest above its mean, on a grid of 8 x 8, without its difference of sides.
_LEFT_HALF = np.array(
    [
        [-100, -86, -58, 5],
        [-18, -7, -31, -7],
        [13, 3, -51, -9],
        [4, -1, -44, 12],
        [-13, 0, -14, 39],
        [-27, 11, 26, 60],
        [-42, 30, 61, 79],
        [-47, 43, 79, 91],
    ],
    np.float64,
)
_AVERAGE_CHEST = np.hstack([_LEFT_HALF, _LEFT_HALF[:, ::-1]])


def looks_lateral(picture: NDArray[np.uint16]) -> bool:
    """Whether the left half is unlike the mirrored right half, wherever the middle may be.

    Keeps 91 % of those frontal pictures. How many lateral ones it finds was not measured: none were at hand.
    """
    thumbnail = _thumbnail(picture, _SIDE)
    likeness = max(_likeness_of_sides(thumbnail, by) for by in range(-_MAX_SHIFT, _MAX_SHIFT + 1))
    return likeness < _MIN_LIKENESS_OF_SIDES


def looks_turned(picture: NDArray[np.uint16]) -> bool:
    """Whether a frontal chest looks more like one on its side or its head than like an upright one.

    Of the pictures turned by 90, 180 and 270 degrees or flipped upside down 99.8 % are found, and 0.5 % of
    the upright ones are suspected: those with one lung white, or with wide bars beside the chest.
    """
    grid = _thumbnail(picture, len(_AVERAGE_CHEST))
    upright, *turned = (float((grid * np.rot90(_AVERAGE_CHEST, turn)).sum()) for turn in range(4))
    return upright < max(turned)


def _thumbnail(picture: NDArray[np.uint16], side: int) -> Thumbnail:
    """(side, side), whatever the shape of the picture."""
    whole = Image.fromarray(picture.astype(np.float32))
    return np.asarray(whole.resize((side, side), Image.Resampling.BOX), np.float64)


def _likeness_of_sides(thumbnail: Thumbnail, shift: int) -> float:
    """Correlation with the mirrored picture after cutting columns from the left, or the right if negative."""
    cut = thumbnail[:, max(shift, 0) : _SIDE + min(shift, 0)]
    cut = cut - cut.mean()
    return float((cut * cut[:, ::-1]).sum() / max((cut * cut).sum(), 1e-9))
