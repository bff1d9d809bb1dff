"""Rows of attributes as rows of the embedding table, and the dropping of attributes.

Every attribute takes one slot, age two: it is the mix of the embeddings of the two knots around it,
so that 62 years lie between 60 and 65 without a parameter of their own.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.conditioning import MAX_AGE, NULL, NUM_AGE_KNOTS, Schema


def tokenise(
    schema: Schema, condition: Float[Tensor, "*batch attribute"]
) -> tuple[Int[Tensor, "*batch slot"], Float[Tensor, "*batch slot"]]:
    """Embedding rows and their weights; slots 0 and 1 add up to the age.

    Args:
        schema: the study's attributes.
        condition: age in years or NaN, then ids; an id outside the vocabulary counts as null, an
            age outside 0 to 100 as the nearest of the two.

    Raises:
        ValueError: ``condition`` has another number of attributes than the schema.
    """
    num_attributes = len(schema.names)
    if condition.shape[-1] != num_attributes:
        raise ValueError(
            f"a condition has {condition.shape[-1]} attributes, the model knows {num_attributes}: "
            "both sides must use the same findings"
        )
    age_rows, age_weights = _age_slots(condition[..., 0])
    limits = torch.tensor(schema.vocabulary[1:], device=condition.device)
    offsets = torch.tensor(schema.offsets[1:], device=condition.device)
    ids = condition[..., 1:].long()
    rows = torch.where((ids >= NULL) & (ids <= limits), ids, NULL) + offsets
    weights = torch.ones_like(condition[..., 1:])
    return torch.cat([age_rows, rows], dim=-1), torch.cat([age_weights, weights], dim=-1)


def drop_attributes(
    condition: Float[Tensor, "batch attribute"],
    *,
    p_each: float,
    p_all: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch attribute"]:
    """Make attributes null at random, so that the network learns every subset of them.

    Args:
        condition: age in years or NaN, then ids.
        p_each: probability that one attribute is dropped, independently of the others.
        p_all: probability that a record loses all attributes; guidance needs this case.
        generator: source of the choice, on the device of ``condition``.
    """
    num_records, num_attributes = condition.shape
    device = condition.device
    each = torch.rand(num_records, num_attributes, generator=generator, device=device) < p_each
    whole = torch.rand(num_records, 1, generator=generator, device=device) < p_all
    return _make_null(condition, each | whole)


def null_like(condition: Float[Tensor, "*batch attribute"]) -> Float[Tensor, "*batch attribute"]:
    """The condition of records of which nothing is known."""
    return _make_null(condition, torch.ones_like(condition, dtype=torch.bool))


def _make_null(
    condition: Float[Tensor, "*batch attribute"], dropped: Bool[Tensor, "*batch attribute"]
) -> Float[Tensor, "*batch attribute"]:
    """``condition`` with NaN for a dropped age and id 0 for every other dropped attribute."""
    null = torch.full_like(condition, NULL)
    null[..., 0] = torch.nan
    return torch.where(dropped, null, condition)


def _age_slots(
    age: Float[Tensor, "*batch"],
) -> tuple[Int[Tensor, "*batch 2"], Float[Tensor, "*batch 2"]]:
    """The knots around an age and their weights; for a null age the null row, once."""
    known = ~age.isnan()
    position = age.nan_to_num().clamp(0.0, MAX_AGE) / MAX_AGE * (NUM_AGE_KNOTS - 1)
    lower = position.floor().clamp(max=NUM_AGE_KNOTS - 2)
    fraction = torch.where(known, position - lower, torch.ones_like(age))
    weights = torch.stack([torch.where(known, 1 - fraction, torch.zeros_like(age)), fraction], -1)
    first = torch.where(known, lower.long() + 1, NULL)
    second = torch.where(known, lower.long() + 2, NULL)
    return torch.stack([first, second], dim=-1), weights
