"""Compressing the pixels of a composed file, in every way that DICOM knows for radiographs."""

from collections.abc import Callable, Mapping
from functools import partial

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

Pixels = NDArray[np.integer]
Encode = Callable[[Pixels, int], bytes]
"""Pixels (row, column) and their bits stored -> one codestream."""

_QUALITY = 95
_LARGEST_ERROR = 2
_ANY_PREDICTOR = 6
_QUANTISATION_STEP = 1e-4


def compress(radiograph: FileDataset, transfer_syntax: UID) -> None:
    """Replace the pixels by compressed ones; the header says what was lost.

    Raises:
        ValueError: nothing here writes this transfer syntax.
    """
    if transfer_syntax == RLELossless:
        radiograph.compress(RLELossless, generate_instance_uid=False)
        return
    if transfer_syntax not in _ENCODERS:
        raise ValueError("no radiograph can be written in this transfer syntax")
    stored = _stored_bits(radiograph)
    frame = _ENCODERS[transfer_syntax](stored, radiograph.BitsStored)
    radiograph.PixelData = encapsulate([frame])
    radiograph["PixelData"].VR = "OB"
    radiograph["PixelData"].is_undefined_length = True
    if transfer_syntax in _METHODS:
        _declare_loss(radiograph, transfer_syntax, ratio=stored.nbytes / len(frame))


def _stored_bits(radiograph: FileDataset) -> Pixels:
    """Stored values as unsigned patterns, which is what the codestreams hold of signed ones too."""
    kind = np.uint8 if radiograph.BitsAllocated == 8 else np.uint16
    patterns: Pixels = np.bitwise_and(
        radiograph.pixel_array.astype(kind), 2**radiograph.BitsStored - 1
    )
    return patterns


def _declare_loss(radiograph: FileDataset, transfer_syntax: UID, *, ratio: float) -> None:
    radiograph.LossyImageCompression = "01"
    radiograph.LossyImageCompressionRatio = round(ratio, 2)
    radiograph.LossyImageCompressionMethod = _METHODS[transfer_syntax]


def _jpeg(pixels: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=_QUALITY, bitspersample=bits))


def _jpeg_lossless(pixels: Pixels, bits: int, *, predictor: int) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)
    )


def _jpeg_ls(pixels: Pixels, _: int, *, largest_error: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels, level=largest_error))


def _jpeg2000(pixels: Pixels, bits: int, *, level: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=level, reversible=level == 0, codecformat="j2k", bitspersample=bits
        )
    )


def _htj2k(pixels: Pixels, _: int, *, step: float | None) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, level=step, reversible=step is None))


_ENCODERS: Mapping[UID, Encode] = {
    JPEGBaseline8Bit: _jpeg,
    JPEGExtended12Bit: _jpeg,
    JPEGLossless: partial(_jpeg_lossless, predictor=_ANY_PREDICTOR),
    JPEGLosslessSV1: partial(_jpeg_lossless, predictor=1),
    JPEGLSLossless: partial(_jpeg_ls, largest_error=0),
    JPEGLSNearLossless: partial(_jpeg_ls, largest_error=_LARGEST_ERROR),
    JPEG2000Lossless: partial(_jpeg2000, level=0),
    JPEG2000: partial(_jpeg2000, level=_QUALITY),
    HTJ2KLossless: partial(_htj2k, step=None),
    HTJ2KLosslessRPCL: partial(_htj2k, step=None),
    HTJ2K: partial(_htj2k, step=_QUANTISATION_STEP),
}
# Methods of PS3.3 C.7.6.1.1.5.1 for the syntaxes that lose something.
_METHODS: Mapping[UID, str] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}
