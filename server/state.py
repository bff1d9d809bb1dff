"""What a study has reached: the tensors that the next round starts from, on the disk."""

from dataclasses import dataclass

from federation.parcel import Parcel
from model.tensors import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStep:
    """How the last round's weights became these, as it travels to hospitals that hold the last ones."""

    from_digest: str
    """Of the weights before."""
    parcel: Parcel


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalState:
    """Everything needed to continue a study after a committed round; tensors are read piece by piece."""

    round_number: int
    """Last committed round; 0 before the first."""
    weights: Tensors
    """The whole model in a full stage, the adapter in a LoRA stage."""
    digest: str
    """Of the weights."""
    shards: tuple[str, ...] = ()
    """Digest of every shard of the weights (``shard_digests``); empty if it is not known."""
    momentum: Tensors | None = None
    """Velocity of the outer step, or its mean of changes; None before the first step and without one."""
    variance: Tensors | None = None
    """The outer step's mean of squared changes; None before the first step and without one."""
    average: Tensors | None = None
    """Exponential moving average of the weights; None when the stage keeps none."""
    base: Tensors | None = None
    """The frozen model under an adapter; None in a full stage."""
    base_digest: str = ""
    step: StoredStep | None = None
    """None if it would save nothing."""

    @property
    def model(self) -> Tensors:
        """What is handed on at the end of a full stage: the average, or the weights if there is none."""
        return self.average or self.weights
