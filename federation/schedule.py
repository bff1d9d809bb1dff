"""What trains in which round, and which draws it uses; both sides derive it from the study alone."""

import hashlib
from dataclasses import replace

from federation.config import StudyConfig
from federation.stages import FullStage, LoraStage
from model.config import AdapterConfig


def trained_tensors(study: StudyConfig, round_number: int, names: frozenset[str]) -> frozenset[str]:
    """Names, out of those the stage sends, of the tensors that train in this round.

    Everything trains, with two exceptions. Under ``ffa`` (FFA-LoRA, Sun et al. 2024,
    https://arxiv.org/abs/2403.12313) the factors A stay as they were drawn. Under ``alternate`` (RoLoRA, Chen et al.
    2025, https://arxiv.org/abs/2502.01755) the stage's odd rounds train the factors B, its even rounds the factors A. B
    goes first, because A has no gradient while B is zero.
    """
    index, stage = study.stage_of(round_number)
    if isinstance(stage, FullStage) or stage.rule not in {"alternate", "ffa"}:
        return names
    odd = (round_number - study.first_round_of(index)) % 2 == 0
    factor = ".lora_B." if odd or stage.rule == "ffa" else ".lora_A."
    return frozenset(name for name in names if factor in name)


def site_adapter(stage: LoraStage, site_name: str) -> AdapterConfig:
    """What a hospital attaches: the stage's adapter, or one of its own rank.

    The factor alpha / rank before the product is the stage's for every hospital, so that products compare.
    """
    rank = stage.site_ranks.get(site_name, stage.rank)
    alpha = stage.alpha if rank == stage.rank else stage.alpha * rank / stage.rank
    return replace(stage.adapter, rank=rank, alpha=alpha)


def keeps_optimizer_state(stage: FullStage | LoraStage) -> bool:
    """Whether a hospital's optimizer state survives from round to round of this stage.

    ``product-svd``, which unequal ranks need too, turns the factors into another basis after every round, in which old
    moments mean nothing. All other rules move the factors within theirs.
    """
    return isinstance(stage, FullStage) or stage.rule != "product-svd"


def derive_seed(study: StudyConfig, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose's."""
    text = "|".join(map(str, (study.seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
