"""A classifier under test: pictures in, one score per finding out, whatever program it was written with.

Three kinds are taken: a TorchScript file (.pt), an ONNX file (.onnx), and a function in a Python file
(``python:PATH.py:FUNCTION``). All three see the same array and answer with one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes (batch, channel, height, width), gives (batch, output) or, of one output, (batch,)."""

NUM_CHANNELS = (1, 3)


class WrongAnswer(ValueError):
    """The classifier answered something else than one score per picture and output."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"the classifier {problem}: {remedy}")


class UnknownRange(ValueError):
    """No range of pixel values."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"{given!r} is no range of pixel values: give black and white, such as 0..1, -1..1, 0..255 or -1024..1024"
        )


class UnknownOutput(ValueError):
    """The finding is none of the classifier's outputs."""

    def __init__(self, finding: str, outputs: Sequence[str]) -> None:
        super().__init__(
            f"the classifier's outputs are {', '.join(outputs)} and not {finding}: name all of its outputs in "
            "their order, such as --outputs cardiomegaly,edema"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class InputForm:
    """How a classifier wants to be shown a picture."""

    image_size: int
    """Side of the square, pixels."""

    low: float = 0.0
    """Value of black."""

    high: float = 1.0
    """Value of white."""

    num_channels: int = 1
    """1, or 3 equal ones."""

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.num_channels not in NUM_CHANNELS or self.low == self.high:
            raise ValueError(f"{self} is no form of a picture")

    def apply(self, images: Float[Tensor, "batch 1 height width"]) -> NDArray[np.float32]:
        """Pictures in [-1, 1] as the classifier wants them, (batch, channel, size, size)."""
        size = (self.image_size, self.image_size)
        if tuple(images.shape[2:]) != size:
            images = interpolate(images, size=size, mode="bilinear", antialias=True)
        scaled = self.low + (images.float() + 1) / 2 * (self.high - self.low)
        array: NDArray[np.float32] = scaled.expand(-1, self.num_channels, -1, -1).numpy()
        return np.ascontiguousarray(array)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Classifier:
    """A classifier and what is known of it."""

    scores: Scores
    form: InputForm
    outputs: tuple[str, ...]
    """What its scores stand for, in their order."""

    finding: str
    """The output under test."""

    is_logit: bool
    """Whether a score is a logit, to be made a probability."""

    threshold: float
    """Probability from which on the finding counts as seen."""

    def __post_init__(self) -> None:
        if self.finding not in self.outputs:
            raise UnknownOutput(self.finding, self.outputs)

    def score(self, images: Float[Tensor, "batch 1 height width"]) -> NDArray[np.float64]:
        """One probability per picture for the finding under test.

        Raises:
            WrongAnswer: another number of scores, or one that is no probability.
        """
        with torch.inference_mode():
            answer = np.asarray(self.scores(self.form.apply(images)), dtype=np.float64)
        table = answer[:, None] if answer.ndim == 1 else answer
        wanted = (len(images), len(self.outputs))
        if table.shape != wanted:
            raise WrongAnswer(
                f"gave scores of shape {answer.shape} for {wanted[0]} pictures and {wanted[1]} outputs",
                "name all of its outputs in their order with --outputs",
            )
        scores = table[:, self.outputs.index(self.finding)]
        if not np.isfinite(scores).all():
            raise WrongAnswer(
                "gave a score that is not a finite number",
                "see that --input-size, --range and --channels are what it was trained with",
            )
        if self.is_logit:
            return 1 / (1 + np.exp(-scores))
        if scores.min() < 0 or scores.max() > 1:
            raise WrongAnswer(
                "gave a score outside 0 to 1", "give --logits if its scores are logits"
            )
        return scores


def parse_range(text: str) -> tuple[float, float]:
    """``0..1`` as the values of black and white.

    Raises:
        UnknownRange: it is not two different numbers.
    """
    black, _, white = text.partition("..")
    try:
        low, high = float(black), float(white)
    except ValueError:
        raise UnknownRange(text) from None
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise UnknownRange(text)
    return low, high
