"""What every way to edit is given: pictures, what is known of them, and what they shall become."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.flow import Denoiser
from model.guidance import Condition, Latents

Region = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """A batch of pictures to edit; all tensors on one device."""

    network: Denoiser
    """Predicts images."""

    latents: Latents
    """What the network sees of the pictures."""

    source: Condition
    """What is known of them: age in years or NaN, then ids with 0 for null."""

    target: Condition
    """What they shall become."""

    region: Region
    """1 where they may change, 0 where what a method makes of them will not be used."""

    noise_size: int
    """Side that places the steps, as ``ModelConfig.noise_size``."""
