"""What a study has reached: the tensors that the next round starts from."""

from dataclasses import dataclass, field, replace

from model.arrays import Arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalState:
    """Everything needed to continue a study after a committed round."""

    round_number: int
    """Last committed round; 0 before the first."""
    weights: Arrays
    """The whole model in a full stage, the adapter in a LoRA stage."""
    momentum: Arrays = field(default_factory=dict)
    """Velocity of the outer step; empty without momentum."""
    average: Arrays = field(default_factory=dict)
    """Exponential moving average of the weights; empty when the stage keeps none."""
    base: Arrays = field(default_factory=dict)
    """The frozen model under an adapter; empty in a full stage."""
    base_digest: str = ""

    def next(self, *, weights: Arrays, momentum: Arrays, average: Arrays) -> "GlobalState":
        """The state after one more round."""
        return replace(
            self,
            round_number=self.round_number + 1,
            weights=weights,
            momentum=momentum,
            average=average,
        )
