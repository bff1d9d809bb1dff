"""What the autoencoder of a latent model takes from a radiograph before the model has drawn anything."""

from dataclasses import dataclass

import torch

from model.codec.round_trip import RoundTrip, codec_error
from model.generate import Generator
from synthesis.evaluation.radiographs import BATCH, Radiographs


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecLoss:
    """Real held-out radiographs, encoded and decoded."""

    codec_digest: str
    error: RoundTrip

    @property
    def verdict(self) -> str:
        """In plain words."""
        return (
            f"The autoencoder alone changes a pixel by {self.error.mean_absolute_error:.2g} of 256 grey values on "
            f"average, with a likeness (MS-SSIM) of {self.error.ms_ssim:.3f}; no sample can be better than that."
        )


def codec_loss(generator: Generator, radiographs: Radiographs) -> CodecLoss | None:
    """Measure the loss of a model's codec on a few radiographs; None for one that has none."""
    if generator.codec.digest is None:
        return None
    device = next(generator.network.parameters()).device
    images, _ = radiographs.source.batch(radiographs.places[:BATCH])
    with torch.inference_mode():
        error = codec_error(generator.codec, images.to(device))
    return CodecLoss(codec_digest=generator.codec.digest, error=error)
