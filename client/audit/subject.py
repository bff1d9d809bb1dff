"""What is audited: a model, the base it grew from, and the hospital's records as they see them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from client.cache.records import Records, open_cache_of
from client.config import SiteConfig
from client.device import best_device
from client.training_records import EncodedRecords
from model.generate import Generator, open_generator
from model.manifest import Manifest, read_manifest


class WrongSubject(ValueError):
    """A model that cannot be audited at this hospital as it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """A model beside one hospital's records."""

    generator: Generator
    """The model under audit, an adapter merged into it."""
    manifest: Manifest
    """Of what was asked for: the adapter's where it is one."""
    base: nn.Module | None
    base_manifest: Manifest | None
    records: EncodedRecords
    site_name: str
    model_path: Path
    base_path: Path | None

    @property
    def network(self) -> nn.Module:
        """What is attacked."""
        return self.generator.network

    @property
    def base_knows_hospital(self) -> bool:
        """Whether the base was itself trained on this hospital's records."""
        return self.base_manifest is not None and self.site_name in self.base_manifest.sites

    @property
    def rows(self) -> NDArray[np.float32]:
        """Conditions of all records, (record, attribute)."""
        return self.records.records.rows


def open_subject(site: SiteConfig, model: Path, base: Path | None) -> Subject:
    """Open everything; the base of an adapter is the model it belongs to.

    Raises:
        WrongSubject: an adapter without its base, a base of another shape, or a cache that does not fit.
        WrongModelFile, CacheMissing, CacheUnusable: something cannot be read.
        CodecMissing, WrongCodec, DiffusersMissing: the model's autoencoder is not at hand.
    """
    manifest, device = read_manifest(model), best_device()
    codec = None if manifest.codec_digest is None else site.codec_path
    if manifest.kind == "adapter" and base is None:
        raise WrongSubject(
            f"{model} is an adapter: give the frozen model that it belongs to with --base"
        )
    if manifest.kind == "adapter" and base is not None:
        generator = open_generator(base, model, codec_path=codec, device=device)
    else:
        generator = open_generator(model, codec_path=codec, device=device)
    records = open_cache_of(site)
    _check_records(records, manifest, generator)
    beside = None if base is None else open_generator(base, codec_path=codec, device=device)
    if beside is not None and beside.network.config != generator.network.config:
        raise WrongSubject(
            f"{base} has another architecture than {model}: give the model it grew from"
        )
    numbered = records.at_site(manifest.site_numbers.get(site.site_name))
    return Subject(
        generator=generator,
        manifest=manifest,
        base=None if beside is None else beside.network,
        base_manifest=None if beside is None else beside.manifest,
        records=EncodedRecords(records=numbered, codec=generator.codec),
        site_name=site.site_name,
        model_path=model,
        base_path=base,
    )


def _check_records(records: Records, manifest: Manifest, generator: Generator) -> None:
    if records.image_size != generator.image_size or records.findings != manifest.findings:
        raise WrongSubject(
            f"the model is for {generator.image_size}-pixel radiographs with {len(manifest.findings)} findings, and the "
            f"cache holds {records.image_size} pixels with {len(records.findings)}: give a model that this hospital "
            "took part in"
        )
