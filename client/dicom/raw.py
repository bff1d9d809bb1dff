"""A raw detector picture made fit to look at.

Pictures "for processing" hold what the detector measured, and no window. PS3.3 C.8.11.3 says how the values
depend on the X-rays that arrived: linearly or as their logarithm, growing or falling. What a radiologist
sees is the logarithm, which is proportional to the matter in the beam, with dense matter white.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.header import number, words
from client.dicom.layout import Patterns

_SHOWN_PERCENTILES = (0.5, 99.5)
_FAINTEST = 1e-3
"""Less than this share of the brightest X-rays is noise behind lead, and not a denser chest."""


def raw_table(
    header: Dataset, values: NDArray[np.int32], *, sample: Patterns
) -> NDArray[np.float32]:
    """Brightness in [0, 1], white is dense, for every stored value.

    Args:
        header: of the file.
        values: the stored value of every pattern of bits.
        sample: patterns of some pixels; the middle 99 % of them fill the range.
    """
    density = _density(header, values, sample)
    low, high = np.percentile(density[sample], _SHOWN_PERCENTILES)
    share = (density - low) / max(float(high - low), 1e-9)
    return np.asarray(np.clip(share, 0.0, 1.0), np.float32)


def _density(header: Dataset, values: NDArray[np.int32], sample: Patterns) -> NDArray[np.float64]:
    """Something that grows in proportion to the matter in the beam, for every stored value."""
    rising = _rises_with_the_rays(header)
    if words(header, "PixelIntensityRelationship") != "LIN":
        return (-values if rising else values).astype(np.float64)
    intensity = values - values.min() if rising else values.max() - values
    faintest = max(_FAINTEST * float(intensity[sample].max()), 1e-9)
    return np.asarray(-np.log(np.maximum(intensity, faintest)))


def _rises_with_the_rays(header: Dataset) -> bool:
    """Whether more X-rays give larger values; where it is not said, as a display would need it."""
    sign = number(header, "PixelIntensityRelationshipSign")
    if sign:
        return sign > 0
    return words(header, "PhotometricInterpretation") == "MONOCHROME1"
