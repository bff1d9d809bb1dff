"""The stages of a study: what trains in their rounds, how hospitals train it, and how their changes become one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from federation.field_types import Decay, Positive, Rate, Share, SiteName, Whole
from federation.privacy_terms import PrivacyTerms
from federation.strict_yaml import STRICT
from model.config import AdapterConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTraining:
    """What a hospital does between receiving weights and answering with a change."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    local_steps: Positive
    """Optimizer steps per round (H)."""
    batch_size: Positive
    """Records per step; with privacy what a step's sum of patients is divided by (L)."""
    learning_rate: Rate
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``adamw`` keeps its state at the hospital from round to round; ``sgd`` has none."""
    beta1: Share = 0.9
    beta2: Share = 0.95
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    max_grad_norm: Rate = 1.0
    """Without privacy: the batch gradient is scaled down to at most this L2 norm."""
    num_draws: Positive = 1
    """Noise draws per record and step (K)."""
    drop_each: Share = 0.15
    """Probability that one attribute of a record is hidden in a step."""
    drop_all: Share = 0.10
    """Probability that every attribute is hidden, for classifier-free guidance."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; trainable parameters stay fp32."""
    proximal: Annotated[float, Field(ge=0.0)] = 0.0
    """FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127): half of it times the squared distance to the received
    weights is added to the loss; 0 adds nothing."""
    privacy: PrivacyTerms | None = None
    """Differentially private training; None promises nothing."""

    def __post_init__(self) -> None:
        if self.privacy is not None and self.precision != "fp32":
            raise ValueError("precision must be fp32 with privacy: rounded gradients bound nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """How the hospitals' changes become one; all but the mean bear with some hospitals that send anything at all."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    rule: Literal["mean", "trimmed-mean", "median", "multi-krum", "rfa", "centred-clipping"] = (
        "mean"
    )
    num_faulty: Whole = 0
    """Hospitals that may send anything: so many values are dropped at either end (``trimmed-mean``), or so many changes
    left out (``multi-krum``)."""
    clip_ratio: Rate = 1.0
    """``centred-clipping``: radius, as a multiple of the median norm of the changes."""

    def __post_init__(self) -> None:
        counts = self.rule in {"trimmed-mean", "multi-krum"}
        if counts != (self.num_faulty > 0):
            raise ValueError(
                f"num_faulty is {self.num_faulty}: trimmed-mean and multi-krum need at least 1, other rules have none"
            )

    @property
    def min_sites(self) -> int:
        """Hospitals without which the rule cannot outvote the faulty ones."""
        return 2 * self.num_faulty + (3 if self.rule == "multi-krum" else 1)


MAX_ADAPTIVE_RATE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterStep:
    """How the combined change d moves the global model w.

    ``sgd``: v = momentum * v + d; w += rate * v, or with ``nesterov`` w += rate * (d + momentum * v). Rate 1 and momentum
    0 are federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629); 0.7 and 0.9 with ``nesterov`` are
    DiLoCo (Douillard et al. 2023, https://arxiv.org/abs/2311.08105). ``adam`` and ``yogi``: FedAdam and FedYogi (Reddi et
    al. 2021, https://arxiv.org/abs/2003.00295).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["sgd", "adam", "yogi"] = "sgd"
    learning_rate: Rate = 1.0
    momentum: Decay = 0.0
    """``sgd`` only."""
    nesterov: bool = True
    """``sgd`` with momentum only."""
    beta1: Decay = 0.9
    """Decay of the mean of changes (``adam``, ``yogi``)."""
    beta2: Decay = 0.99
    """Decay of the mean of squared changes (``adam``, ``yogi``)."""
    tau: Rate = 1e-3
    """Added to the root of the mean of squared changes (``adam``, ``yogi``)."""

    def __post_init__(self) -> None:
        if self.kind != "sgd" and self.momentum:
            raise ValueError(f"momentum must be 0 with {self.kind}, which has beta1 instead")
        if self.kind != "sgd" and self.learning_rate > MAX_ADAPTIVE_RATE:
            raise ValueError(
                f"learning_rate must be given and at most {MAX_ADAPTIVE_RATE} with {self.kind}, which moves every "
                "weight by up to that much a round"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FullStage:
    """Rounds in which every parameter of the model trains and travels."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["full"]
    num_rounds: Positive
    local: LocalTraining
    combine: Combination = field(default_factory=Combination)
    outer: OuterStep = field(default_factory=OuterStep)
    ema_decay: Decay = 0.0
    """Per-round decay of the exponential moving average that is kept beside the model; 0 keeps none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraStage:
    """Rounds in which only low-rank adapters train and travel; the model below them is frozen."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["lora"]
    num_rounds: Positive
    local: LocalTraining
    rank: Positive
    alpha: Rate
    rule: Literal["product-svd", "alternate", "ffa", "joint"] = "product-svd"
    """``product-svd``: best rank-r factors of the mean product. ``alternate``: odd rounds B, even rounds A. ``ffa``: B
    alone, A stays as it was drawn. ``joint``: the means of A and B, whose product is not the mean product."""
    combine: Combination = field(default_factory=Combination)
    """Of the factors' changes; ``product-svd`` knows the mean alone."""
    site_ranks: Mapping[SiteName, Positive] = field(default_factory=dict)
    """Hospitals that train an adapter of a smaller rank (``product-svd`` only)."""
    targets: tuple[str, ...] = ("qkv", "proj", "w12", "w3")
    """Names of the linear layers that get an adapter."""

    def __post_init__(self) -> None:
        AdapterConfig(rank=self.rank, alpha=self.alpha, targets=self.targets)
        if self.rule == "product-svd" and self.combine.rule != "mean":
            raise ValueError("combine.rule must be mean with product-svd")
        if self.site_ranks and self.rule != "product-svd":
            raise ValueError("site_ranks needs product-svd: other rules add factors of one shape")
        if any(rank > self.rank for rank in self.site_ranks.values()):
            raise ValueError(f"site_ranks may hold no rank above {self.rank}")

    @property
    def adapter(self) -> AdapterConfig:
        """The adapter's shape, in the model's terms."""
        return AdapterConfig(rank=self.rank, alpha=self.alpha, targets=self.targets)


Stage = Annotated[FullStage | LoraStage, Field(discriminator="kind")]
