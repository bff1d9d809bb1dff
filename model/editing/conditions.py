"""Where two conditions differ, attribute by attribute."""

import torch
from jaxtyping import Bool
from torch import Tensor

from model.conditioning import Schema
from model.guidance import Condition
from model.tokens import null_like

_NUM_GLOBAL = len(Schema(findings=()).names)
"""Attributes before the findings, which show in the whole picture: age, sex, view and the like."""

Edited = Bool[Tensor, "batch attribute"]


def differing(source: Condition, target: Condition) -> Edited:
    """True for an attribute whose value is another, or known in one of the two only."""
    both_unknown = source.isnan() & target.isnan()
    return (source != target) & ~both_unknown


def only_findings_differ(source: Condition, target: Condition) -> Bool[Tensor, " batch"]:
    """Whether age, sex, view and what else shows in the whole picture stay as they are."""
    return ~differing(source, target)[:, :_NUM_GLOBAL].any(dim=1)


def without(condition: Condition, edited: Edited) -> Condition:
    """The condition with some attributes unknown."""
    return torch.where(edited, null_like(condition), condition)
