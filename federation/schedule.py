"""What trains in which round, and which draws it uses; both sides derive it from the study alone."""

import hashlib

from federation.config import FullStage, LoraStage, StudyConfig


def trained_tensors(study: StudyConfig, round_number: int, names: frozenset[str]) -> frozenset[str]:
    """Names, out of those the stage sends, of the tensors that train in this round.

    Everything trains, except under the rule ``alternate`` (RoLoRA, Chen et al. 2025,
    https://arxiv.org/abs/2502.01755): the stage's odd rounds train the factors B, its even rounds the
    factors A. B goes first, because A has no gradient while B is zero.
    """
    index, stage = study.stage_of(round_number)
    if isinstance(stage, FullStage) or stage.rule != "alternate":
        return names
    odd = (round_number - study.first_round_of(index)) % 2 == 0
    factor = ".lora_B." if odd else ".lora_A."
    return frozenset(name for name in names if factor in name)


def keeps_optimizer_state(stage: FullStage | LoraStage) -> bool:
    """Whether a hospital's optimizer state survives from round to round of this stage.

    ``product-svd`` turns the factors into another basis after every round, in which old moments mean nothing.
    """
    return isinstance(stage, FullStage) or stage.rule == "alternate"


def derive_seed(study: StudyConfig, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose's."""
    text = "|".join(map(str, (study.seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
