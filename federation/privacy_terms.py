"""What a study asks of differentially private training: public constants, the same at every hospital.

Nothing here may follow from a hospital's data: a rate or a denominator computed from the number of patients would
tell that number.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from federation.strict_yaml import STRICT

AboveZero = Annotated[float, Field(gt=0.0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyTerms:
    """DP-SGD over patients (Abadi et al. 2016, https://arxiv.org/abs/1607.00133).

    A step draws every patient with the sample rate, independently, clips the mean gradient of each to a norm, adds
    noise to their sum and divides by the batch size of the local training, whoever was drawn.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    noise_multiplier: AboveZero
    """Standard deviation of the noise on a step's sum, in units of ``max_grad_norm`` (sigma)."""
    sample_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    """Chance of every patient to be drawn in a step (q)."""
    max_grad_norm: AboveZero
    """L2 norm that no patient's gradient exceeds (C)."""
    max_images: Annotated[int, Field(gt=0)] = 1
    """Radiographs of a drawn patient in a step, at most (M); each gets ``num_draws`` noise draws."""
    loss_noise_multiplier: AboveZero | None = None
    """Noise on the loss that leaves, in units of ``max_loss``; it is charged with the step. None: no loss leaves."""
    max_loss: AboveZero = 1.0
    """Value that no patient's loss exceeds before it is added up."""
