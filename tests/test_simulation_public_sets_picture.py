"""Published pictures become DICOM pixels without the loss of a grey level, or are refused."""

from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless

from simulation.public_sets.picture import PictureDamaged, PictureInColour, pixel_data

Picture = NDArray[np.generic]


def noise(*shape: int, dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> Picture:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def png(path: Path, pixels: Picture) -> Path:
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_agreeing_channels_keeps_every_grey_level(
    tmp_path: Path, channels: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    grey = noise(40, 50, dtype=dtype)
    layers = [grey] * (3 if channels > 2 else 1)
    layers += [np.full_like(grey, np.iinfo(dtype).max)] * (channels in {2, 4})
    picture = grey if channels == 1 else np.stack(layers, axis=-1)
    made = pixel_data(png(tmp_path / "a.png", picture))
    assert made.transfer_syntax == JPEGLSLossless
    assert not made.is_lossy
    assert (made.rows, made.columns, made.bits) == (40, 50, 8 * grey.dtype.itemsize)
    np.testing.assert_array_equal(imagecodecs.jpegls_decode(made.content), grey)


def test_a_grey_baseline_jpeg_is_taken_over_byte_for_byte(tmp_path: Path) -> None:
    content = imagecodecs.jpeg8_encode(noise(40, 50), level=90)
    (tmp_path / "a.jpg").write_bytes(content + b"\0\0")
    made = pixel_data(tmp_path / "a.jpg")
    assert made.content == content
    assert made.transfer_syntax == JPEGBaseline8Bit
    assert made.is_lossy
    assert (made.rows, made.columns, made.bits) == (40, 50, 8)


@pytest.mark.parametrize("mode", ["progressive", "colour channels"])
def test_any_other_jpeg_is_decoded_and_then_kept_without_loss(tmp_path: Path, mode: str) -> None:
    grey, stream = Image.fromarray(noise(40, 50)), BytesIO()
    if mode == "progressive":
        grey.save(stream, "JPEG", progressive=True)
    else:
        grey.convert("RGB").save(stream, "JPEG", subsampling=0)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    made = pixel_data(tmp_path / "a.jpg")
    assert made.transfer_syntax == JPEGLSLossless
    expected = np.asarray(Image.open(stream).convert("RGB"))[..., 0]
    np.testing.assert_array_equal(imagecodecs.jpegls_decode(made.content), expected)


def test_a_picture_in_colour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureInColour):
        pixel_data(png(tmp_path / "a.png", noise(40, 50, 3)))


@pytest.mark.parametrize("kind", ["png", "jpg", "text", "empty"])
def test_a_picture_that_breaks_off_or_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    contents = {
        "png": imagecodecs.png_encode(noise(40, 50))[:1500],
        "jpg": imagecodecs.jpeg8_encode(noise(40, 50))[:1000],
        "text": b"<html>404</html>",
        "empty": b"",
    }
    (tmp_path / "a").write_bytes(contents[kind])
    with pytest.raises(PictureDamaged):
        pixel_data(tmp_path / "a")
