"""How one hospital's machines render a chest: tone, noise, sharpening, collimation and marker."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from simulation.texture import Field


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """One hospital's look."""

    gamma: float
    """Above 1 darkens middle tones."""
    contrast: float
    noise: float
    """Standard deviation of the noise, as a share of full brightness."""
    sharpening: float
    """0 none to 1 strong edge enhancement."""
    zoom: float
    collimation: float
    """Widest black border, as a share of the picture."""
    marker: str
    """Letters on the film; may be empty."""
    marker_place: tuple[float, float]
    """Right and down, as shares of the picture."""


STYLES: dict[str, Style] = {
    "plain": Style(
        gamma=1.0,
        contrast=1.0,
        noise=0.010,
        sharpening=0.0,
        zoom=1.0,
        collimation=0.0,
        marker="L",
        marker_place=(0.88, 0.06),
    ),
    "portable": Style(
        gamma=0.80,
        contrast=0.86,
        noise=0.022,
        sharpening=0.0,
        zoom=1.07,
        collimation=0.04,
        marker="R",
        marker_place=(0.05, 0.05),
    ),
    "crisp": Style(
        gamma=1.22,
        contrast=1.12,
        noise=0.007,
        sharpening=0.9,
        zoom=0.96,
        collimation=0.0,
        marker="",
        marker_place=(0.0, 0.0),
    ),
}


def render_style(
    density: Field, style: Style, rng: np.random.Generator, *, portable: bool
) -> Field:
    """Turn density, about 0 to 1, into the hospital's brightness in [0, 1]."""
    picture = density * (1.24 * style.contrast * rng.uniform(0.94, 1.06))
    picture += 0.04 * rng.uniform(0.3, 1.0) + (1.0 - style.contrast) * 0.4
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += style.noise * rng.uniform(0.7, 1.3) * noise
    picture = _sharpened(picture, 0.25 * style.sharpening)
    picture = np.maximum(picture, 0.0)
    picture /= 1.0 + 0.22 * picture  # a film's shoulder: bright regions are compressed
    picture = np.minimum(np.power(picture, style.gamma * rng.uniform(0.92, 1.10)), 1.0)
    _collimate(picture, round(picture.shape[0] * style.collimation * rng.uniform(0.4, 1.0)))
    _stamp_marker(picture, style, rng, portable=portable)
    return np.asarray(picture)


def _sharpened(picture: Field, strength: float) -> Field:
    if strength == 0.0:
        return picture
    padded = np.pad(picture, 1, mode="edge")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return picture + strength * (4.0 * picture - neighbours)


def _collimate(picture: Field, width: int) -> None:
    if width:
        picture[:width] = picture[-width:] = 0.0
        picture[:, :width] = picture[:, -width:] = 0.0


def _stamp_marker(
    picture: Field, style: Style, rng: np.random.Generator, *, portable: bool
) -> None:
    """Put the lead letters on the film, with AP below them on portable pictures."""
    if not style.marker:
        return
    size = picture.shape[0]
    letters = Image.new("L", (size // 6, size // 5), 0)
    text = f"{style.marker}\nAP" if portable else style.marker
    ImageDraw.Draw(letters).text((1, 1), text, fill=255, font_size=max(6.0, size / 14))
    stamp = 0.93 / 255.0 * np.asarray(letters, np.float32)
    right = min(
        round((style.marker_place[0] + rng.uniform(-0.03, 0.0)) * size), size - stamp.shape[1]
    )
    down = min(
        round((style.marker_place[1] + rng.uniform(-0.02, 0.02)) * size), size - stamp.shape[0]
    )
    rows = slice(max(down, 0), max(down, 0) + stamp.shape[0])
    columns = slice(max(right, 0), max(right, 0) + stamp.shape[1])
    picture[rows, columns] = np.maximum(picture[rows, columns], stamp)
