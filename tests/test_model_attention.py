"""Attention: the plain products of half precision are the fused kernel's, and only taken where they fit."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

import model.attention
from model.attention import attend


def heads(dtype: torch.dtype, num_tokens: int = 24) -> list[Tensor]:
    """Query, key and value of two records with three heads."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, num_tokens, 16)
    return [
        torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in ("q", "k", "v")
    ]


def answer_and_gradients(dtype: torch.dtype) -> list[Tensor]:
    parts = heads(dtype)
    mixed = attend(*parts)
    torch.autograd.backward(mixed.float().square().mean())
    return [mixed.detach().float(), *(part.grad.float() for part in parts if part.grad is not None)]


def test_half_precision_on_a_processor_differs_from_full_by_rounding() -> None:
    rough, exact = answer_and_gradients(torch.bfloat16), answer_and_gradients(torch.float32)
    assert len(rough) == len(exact) == 4
    for one, other in zip(rough, exact, strict=True):
        # bfloat16 carries 8 bits, and scores are rounded once before they are raised to a power.
        assert float((one - other).norm() / other.norm()) < 0.015


def test_full_precision_is_the_fused_kernel_to_the_bit() -> None:
    query, key, value = heads(torch.float32)
    fused = F.scaled_dot_product_attention(query, key, value)
    assert torch.equal(attend(query, key, value), fused)


@pytest.mark.parametrize(("most", "plain"), [(24, True), (23, False)])
def test_too_many_tokens_go_to_the_kernel_that_keeps_no_scores(
    monkeypatch: pytest.MonkeyPatch, most: int, *, plain: bool
) -> None:
    monkeypatch.setattr(model.attention, "MAX_PLAIN_TOKENS", most)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attend(*heads(torch.bfloat16))
    assert any(shape[-2:] == (24, 24) for shape in kept) == plain
