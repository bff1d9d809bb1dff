"""The study: the file that all sign up to, and what it means."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from federation.encoding import Encoding
from federation.field_types import Digest, Positive, Rate, SiteName, Whole
from federation.layers import load_layered
from federation.stages import FullStage, LoraStage, Stage
from federation.strict_yaml import STRICT, ConfigError, check_config
from model.conditioning import FINDINGS
from model.config import ModelConfig, model_config
from model.tensors import SHARD_VALUES


@dataclass(frozen=True, kw_only=True, slots=True)
class Autoencoder:
    """A frozen autoencoder of the `diffusers` library; every hospital has its own copy of the same."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["diffusers"]
    digest: Digest
    """Of its weights and architecture; ``fedcxr model codec FOLDER`` prints it."""
    num_channels: Positive
    """Channels of its latents."""
    factor: Positive
    """Pixels of a radiograph along one pixel of its latents."""


def _codec_kind(content: object) -> str:
    """Pixels are named by one word; everything else has to be an autoencoder."""
    return "pixel" if isinstance(content, str) else "diffusers"


Codec = Annotated[
    Annotated[Literal["pixel"], Tag("pixel")] | Annotated[Autoencoder, Tag("diffusers")],
    Discriminator(_codec_kind),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Which of the published sizes is trained, on how many pixels, or on the latents of which codec."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    size: str
    """``tiny``, ``small``, ``base``, ``large`` or ``xl-1.3b``."""
    image_size: Positive
    """Side of the square radiograph, in pixels; a multiple of the size's patch."""
    codec: Codec = "pixel"
    """What the network sees of a radiograph: its pixels, or the latents of an autoencoder."""
    start: Digest | None = None
    """Digest of the weights that training starts from, as the manifest of their model says, such as a public model's;
    None: fresh ones, which the study's seed decides."""

    def __post_init__(self) -> None:
        _ = self.config

    @property
    def config(self) -> ModelConfig:
        """The network's numbers."""
        if isinstance(self.codec, str):
            return model_config(self.size, self.image_size)
        return model_config(
            self.size,
            self.image_size,
            num_channels=self.codec.num_channels,
            codec_factor=self.codec.factor,
        )

    @property
    def codec_digest(self) -> str | None:
        """Of the autoencoder; None for pixels."""
        return None if isinstance(self.codec, str) else self.codec.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """How tensors travel between coordinator and hospitals."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    upload: Encoding = "fp32"
    """Of the hospitals' changes. ``int4`` keeps at the hospital what rounding took, and adds it to the next change."""
    download: Literal["fp32", "bf16", "int8"] = "fp32"
    """Of the coordinator's step from one round to the next, for hospitals that hold the last one's weights; whole models
    travel as they are."""
    inline_bytes: Whole = 32 * 2**20
    """Tensors up to this many bytes travel inside messages; more of them beside, as shards."""
    shard_values: Annotated[int, Field(gt=0, le=2**28)] = SHARD_VALUES
    """Values of a shard, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRules:
    """When a round counts."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    num_sites: Positive
    """Hospitals that are expected; a round is asked of all of them."""
    min_sites: Positive
    """Admitted updates without which a round does not count (the quorum)."""
    deadline_seconds: Rate = 3600.0
    """Time from asking until the round is closed without those that have not answered."""
    grace_seconds: Rate = 120.0
    """Once the quorum is met, how long a round stays open for hospitals that are not connected."""
    max_attempts: Positive = 3
    """Attempts at one round before the study stops and asks for a person."""
    retry_seconds: Rate = 30.0
    """Pause before a round is tried again."""
    site_weights: Literal["uniform", "records"] = "uniform"
    """Weight of a hospital in the mean: all equal, or its number of usable records (must be shared;
    nobody counts for more than ten times the median)."""
    max_norm_ratio: Annotated[float, Field(gt=1.0)] = 4.0
    """A change whose L2 norm is more than this many times the cohort's median is refused."""

    def __post_init__(self) -> None:
        if self.min_sites > self.num_sites:
            raise ValueError(f"min_sites {self.min_sites} is more than num_sites {self.num_sites}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """Everything coordinator and hospitals must agree on; its digest names the study."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: SiteName
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Seed of initial weights, batch order and training noise. Never of privacy noise."""
    model: ModelChoice
    rounds: RoundRules
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    transport: Transport = field(default_factory=Transport)
    findings: tuple[str, ...] = FINDINGS
    """Findings the model is conditioned on, in embedding order."""

    def __post_init__(self) -> None:
        kinds = [stage.kind for stage in self.stages]
        if kinds != sorted(kinds, key=("full", "lora").index):
            raise ValueError("stages may hold no full stage after a lora stage")
        if kinds[0] != "full" and self.model.start is None:
            raise ValueError("stages must begin with kind full, unless model.start names a model")
        if kinds.count("lora") > 1:
            raise ValueError("stages may hold one lora stage at most")
        if self.rounds.site_weights == "records" and any(
            stage.local.privacy for stage in self.stages
        ):
            raise ValueError(
                "rounds.site_weights must be uniform in a study with privacy: a hospital's number of records is "
                "not told"
            )
        self._check_rules()

    def _check_rules(self) -> None:
        for stage in self.stages:
            if self.rounds.min_sites < stage.combine.min_sites:
                raise ValueError(
                    f"rounds.min_sites must be at least {stage.combine.min_sites} with combine.rule "
                    f"{stage.combine.rule} and num_faulty {stage.combine.num_faulty}"
                )
        last, width = self.stages[-1], self.model_config.dim
        if not isinstance(last, LoraStage):
            return
        if last.rule == "product-svd" and self.transport.download != "fp32":
            raise ValueError(
                "transport.download must be fp32 with product-svd: its steps are as large as the factors themselves"
            )
        if last.rank > width:
            raise ValueError(
                f"rank {last.rank} is more than {width}, the width of {self.model.size}"
            )

    @property
    def model_config(self) -> ModelConfig:
        """The network's numbers."""
        return self.model.config

    @property
    def num_rounds(self) -> int:
        """Rounds of all stages together."""
        return sum(stage.num_rounds for stage in self.stages)

    def stage_of(self, round_number: int) -> tuple[int, FullStage | LoraStage]:
        """Index and stage of a round; rounds count from 1 through all stages."""
        left = round_number
        for index, stage in enumerate(self.stages):
            if 1 <= left <= stage.num_rounds:
                return index, stage
            left -= stage.num_rounds
        raise ValueError(f"round {round_number} is none of the study's {self.num_rounds} rounds")

    def first_round_of(self, stage_index: int) -> int:
        """Number of a stage's first round."""
        return 1 + sum(stage.num_rounds for stage in self.stages[:stage_index])


def load_study(path: Path) -> StudyConfig:
    """Read and check a study.

    Raises:
        ConfigError: naming the file, every offending key, and what it should be.
    """
    return load_layered(path, StudyConfig)


def parse_study(text: str) -> StudyConfig:
    """Read a study that travelled as canonical JSON.

    Raises:
        ConfigError: if it is not a study of this release.
    """
    try:
        content = json.loads(text)
    except ValueError as err:
        raise ConfigError("the study is not JSON: it was not written by this program") from err
    return check_config("the study", content, StudyConfig)


def study_json(study: StudyConfig) -> str:
    """One spelling per study: sorted keys, no spaces, defaults written out."""
    return json.dumps(asdict(study), sort_keys=True, separators=(",", ":"))


def study_digest(study: StudyConfig) -> str:
    """SHA-256 of the study's canonical JSON, in hex."""
    return hashlib.sha256(study_json(study).encode()).hexdigest()
