"""The formula for memory, against what torch really keeps between the two passes."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from model.conditioning import Schema
from model.config import ModelConfig, model_config
from model.footprint import FULL, HALF, block_bytes, kept_bytes
from model.initial import initial_network
from model.transformer import RectifiedFlowTransformer

NUM_RECORDS = 4


def kept_for_one_image(network: RectifiedFlowTransformer, number_bytes: int) -> float:
    """Bytes of everything autograd keeps but the weights and their copies in half precision."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    shapes = {tuple(sorted(parameter.shape)) for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        is_copy = tensor.dtype is torch.bfloat16 and tuple(sorted(tensor.shape)) in shapes
        if storage.data_ptr() not in own and not is_copy:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    config = network.config
    noisy = torch.zeros(NUM_RECORDS, 1, 1, config.image_size, config.image_size)
    half = torch.autocast("cpu", dtype=torch.bfloat16) if number_bytes == HALF else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
        answer = network(noisy, torch.ones(NUM_RECORDS, 1), torch.ones(NUM_RECORDS, 1, 20))
    assert answer.requires_grad  # what is kept is alive until here
    return sum(kept.values()) / NUM_RECORDS


@pytest.mark.parametrize("config", [model_config("tiny", 64), model_config("small", 64)])
@pytest.mark.parametrize("number_bytes", [FULL, HALF])
def test_the_formula_says_what_training_keeps(config: ModelConfig, number_bytes: int) -> None:
    kept = kept_for_one_image(initial_network(config, Schema(), 1), number_bytes)
    assert kept == pytest.approx(
        kept_bytes(config, number_bytes, fused=number_bytes == FULL), rel=0.1
    )


def test_the_formula_says_what_is_kept_when_blocks_are_computed_twice() -> None:
    network = initial_network(model_config("small", 64), Schema(), 1)
    network.recompute = True
    kept = kept_for_one_image(network, FULL)
    # Around the blocks lie the patches, the attributes and their sums, which the formula leaves out.
    assert kept_bytes(network.config, FULL, recompute=True) < kept
    assert kept < 0.2 * kept_bytes(network.config, FULL)


def test_attention_that_is_not_fused_keeps_a_number_for_every_pair_of_tokens() -> None:
    config = model_config("base", 512)
    plain, fused = (block_bytes(config, 1056, HALF, fused=fused) for fused in (False, True))
    copied = 2 * HALF * 1056 * config.dim  # values are copied, and need not stay with qkv
    assert plain - fused + copied == HALF * config.num_heads * 1056**2
