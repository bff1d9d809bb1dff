"""The codec that a model was trained with: none but that one will do, because latents mean nothing to another."""

from pathlib import Path

import torch

from model.codec.autoencoder_folder import WrongCodec
from model.codec.codec import Codec
from model.codec.diffusers_codec import DiffusersCodec
from model.codec.pixel import PixelCodec
from model.config import ModelConfig


class CodecMissing(ValueError):
    """A model of latents, and no autoencoder to go with it."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"the model draws latents of the autoencoder {digest[:12]}: give the folder that holds it "
            "with --codec"
        )


def open_codec(
    config: ModelConfig,
    digest: str | None,
    path: Path | None,
    *,
    device: torch.device | None = None,
) -> Codec:
    """What stands between radiographs and a network.

    Args:
        config: of the network.
        digest: of the autoencoder that the network was trained with; None for pixels.
        path: folder of the autoencoder; None for pixels.
        device: where an autoencoder computes; the processor by default.

    Raises:
        CodecMissing: the network needs an autoencoder and none is given.
        WrongCodec: the folder is not what it should be, or not the one that the network needs.
        DiffusersMissing: the library that knows autoencoders is not installed.
    """
    if digest is None and path is None:
        return PixelCodec()
    if digest is None:
        raise WrongCodec("the model draws pixels and takes no autoencoder: leave it out")
    if path is None:
        raise CodecMissing(digest)
    codec = DiffusersCodec(path, device=device or torch.device("cpu"))
    _check(codec, config, digest, path)
    return codec


def _check(codec: DiffusersCodec, config: ModelConfig, digest: str, path: Path) -> None:
    """Raise unless this is the autoencoder, and its latents have the shape that the network sees."""
    if codec.digest != digest:
        raise WrongCodec(
            f"{path} holds the autoencoder {str(codec.digest)[:12]}, the model was made for "
            f"{digest[:12]}: give the folder of that one"
        )
    found, wanted = (codec.num_channels, codec.factor), (config.num_channels, config.codec_factor)
    if found != wanted:
        raise WrongCodec(
            f"{path} makes {found[0]} channels at 1/{found[1]} of the size, the model sees {wanted[0]} at "
            f"1/{wanted[1]}: correct num_channels and factor in the study"
        )
    require_side(codec, config.image_size)


def require_side(codec: DiffusersCodec, image_size: int) -> None:
    """Make sure that an autoencoder takes radiographs of this size.

    Raises:
        WrongCodec: it does not.
    """
    if image_size % codec.side_unit:
        raise WrongCodec(
            f"the autoencoder needs radiographs whose side is a multiple of {codec.side_unit} pixels, not "
            f"{image_size}: choose another image_size"
        )
