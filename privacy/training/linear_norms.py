"""Norms of what each patient adds to a linear layer's gradient, by whichever way multiplies less.

A patient's gradient is the product G' A of output gradients G (token, output) and inputs A (token, input).
Its norm follows from that product, which has output x input numbers, or from the two token x token products G G'
and A A' ("ghost"; Li et al. 2021, https://arxiv.org/abs/2110.05679); which is cheaper differs from layer to layer
(Bu et al. 2022, https://arxiv.org/abs/2205.10683). All in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

ROUNDING = 0.5 * torch.finfo(torch.float32).eps
"""Error of the sum of the terms, relative to the sum of their sizes; the largest one measured is a third of it."""


def linear_norms(
    layer: nn.Linear, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """For Opacus: the norm per patient of each trained parameter of a layer.

    Args:
        layer: whose gradient is meant.
        activations: its one input, (patient, ..., input).
        backprops: gradients of its output, (patient, ..., output).
    """
    outputs, inputs = _by_token(backprops), _by_token(activations[0])
    norms: dict[nn.Parameter, Tensor] = {}
    for name, parameter in layer.named_parameters(recurse=False):
        if parameter.requires_grad:
            of_bias = name == "bias"
            norms[parameter] = (
                vector_norms(outputs.sum(dim=1)) if of_bias else weight_norms(outputs, inputs)
            )
    return norms


def weight_norms(
    outputs: Float[Tensor, "patient token output"], inputs: Float[Tensor, "patient token input"]
) -> Float[Tensor, " patient"]:
    """The cheaper of the two."""
    (num_tokens, num_outputs), num_inputs = outputs.shape[1:], inputs.shape[2]
    if ghost_is_cheaper(num_tokens, num_inputs, num_outputs):
        return ghost_norms(outputs, inputs)
    return materialised_norms(outputs, inputs)


def ghost_is_cheaper(num_tokens: int, num_inputs: int, num_outputs: int) -> bool:
    """Whether two products of token x token take fewer multiplications than one of output x input."""
    return num_tokens * (num_inputs + num_outputs) < num_inputs * num_outputs


def materialised_norms(
    outputs: Float[Tensor, "patient token output"], inputs: Float[Tensor, "patient token input"]
) -> Float[Tensor, " patient"]:
    """Norms of the gradients themselves."""
    return vector_norms(torch.bmm(outputs.transpose(1, 2), inputs).flatten(1))


def ghost_norms(
    outputs: Float[Tensor, "patient token output"], inputs: Float[Tensor, "patient token input"]
) -> Float[Tensor, " patient"]:
    """Norms without the gradients, rounded up.

    Where what the tokens say of a weight all but cancels, so do the terms here, and what is left of their sum may be
    rounding. A norm that is too small would let a patient past the bound, so the error is added.
    """
    alike = torch.bmm(outputs, outputs.transpose(1, 2)) * torch.bmm(inputs, inputs.transpose(1, 2))
    sizes = (outputs.norm(dim=2) * inputs.norm(dim=2)).sum(dim=1).square()
    squares = alike.flatten(1).sum(dim=1, dtype=torch.float64).clamp_min(0) + ROUNDING * sizes
    norms: Tensor = squares.sqrt().to(outputs.dtype)
    return norms


def vector_norms(vectors: Float[Tensor, "patient value"]) -> Float[Tensor, " patient"]:
    """Lengths."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return lengths


def _by_token(values: Tensor) -> Float[Tensor, "patient token value"]:
    """Any number of axes between patient and value as one, in float32."""
    tokens: Tensor = values.float().unsqueeze(1) if values.dim() == 2 else values.flatten(1, -2)
    return tokens.float()
