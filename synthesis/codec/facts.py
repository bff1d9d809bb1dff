"""An autoencoder in the words of a study, and what it loses of a hospital's own radiographs."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from client.cache.cipher import load_key
from client.cache.records import Records, open_cache, open_cache_of
from client.config import load_site
from client.device import best_device
from model.codec.diffusers_codec import DiffusersCodec
from model.codec.opening import require_side
from model.codec.round_trip import RoundTrip, codec_error
from synthesis.real import PROFILE_SUFFIXES

NUM_RADIOGRAPHS = 64
"""That the loss is measured on, at most."""


def codec_facts(folder: Path, real: Path | None) -> dict[str, dict[str, object]]:
    """Digest and geometry; with radiographs, the error of the round trip.

    Args:
        folder: the autoencoder's.
        real: a hospital's profile or the folder of its cache; None measures nothing.

    Raises:
        WrongCodec, DiffusersMissing: the folder cannot be used, or not for radiographs of this size.
        CacheMissing, CacheUnusable, CacheKeyUnusable, ConfigError: the radiographs cannot be read.
    """
    codec = DiffusersCodec(folder, device=best_device())
    study: dict[str, object] = {
        "kind": "diffusers",
        "digest": codec.digest,
        "num_channels": codec.num_channels,
        "factor": codec.factor,
    }
    if real is None:
        return {"codec": study}
    records = _open(real)
    require_side(codec, records.image_size)
    return {"codec": study, "round_trip": asdict(_measure(codec, records))}


def facts_text(facts: Mapping[str, Mapping[str, object]]) -> str:
    """The lines for a study's file, and the error in words."""
    lines = ["Under model in the study:", "  codec:"]
    lines += [f"    {name}: {value}" for name, value in facts["codec"].items()]
    lost = facts.get("round_trip")
    if lost:
        psnr = "nothing" if lost["psnr"] is None else f"PSNR {lost['psnr']:.1f} dB"
        lines.append(
            f"Lost of {lost['num_images']} radiographs: {psnr}, MS-SSIM {lost['ms_ssim']:.4f}, "
            f"mean error {lost['mean_absolute_error']:.2f} of 256 greys"
        )
    return "\n".join(lines)


def _open(real: Path) -> Records:
    if real.suffix in PROFILE_SUFFIXES:
        return open_cache_of(load_site(real))
    return open_cache(real, load_key(None))


def _measure(codec: DiffusersCodec, records: Records) -> RoundTrip:
    """On radiographs from all over the cache."""
    count = min(NUM_RADIOGRAPHS, len(records))
    images, _ = records.batch(np.linspace(0, len(records) - 1, count).astype(np.int64))
    return codec_error(codec, images)
