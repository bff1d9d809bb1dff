"""The contract of a codec: pictures to what the network sees, and back."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """Frozen; holds nothing that training changes."""

    @property
    def num_channels(self) -> int:
        """Channels of a latent picture."""

    @property
    def factor(self) -> int:
        """Pixels of a radiograph along one pixel of a latent picture."""

    @property
    def digest(self) -> str | None:
        """What names the codec's weights; None where it has none."""

    def encode(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch channel latent_height latent_width"]:
        """Latents of about unit scale from pixels in [-1, 1], on the device of the pixels."""

    def decode(
        self, latents: Float[Tensor, "batch channel latent_height latent_width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Pixels from latents, on the device of the latents; not clipped."""
