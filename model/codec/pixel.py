"""The codec that changes nothing: the network sees pixels, and what an edit leaves alone stays bit-exact."""

from jaxtyping import Float
from torch import Tensor


class PixelCodec:
    """Pictures are their own latents."""

    num_channels = 1
    factor = 1
    digest: str | None = None

    def encode(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """The pictures themselves."""
        return images

    def decode(
        self, latents: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """The pictures themselves."""
        return latents
