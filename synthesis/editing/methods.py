"""The editing methods by the names that a person types."""

from dataclasses import replace
from typing import Literal

from model.editing.settings import (
    USUAL_EDIT,
    EditSettings,
    FlowEdit,
    Inversion,
    RFInversion,
    SDEdit,
)

MethodName = Literal["flow-edit", "flow-edit-cfg", "inversion", "rf-inversion", "sdedit"]


def settings_of(
    method: MethodName, *, steps: int | None = None, guidance: float | None = None
) -> EditSettings:
    """The usual settings of a method, with what was given in their place.

    Args:
        method: its name; `flow-edit-cfg` is FlowEdit with the usual guidance, which moves away from
            everything that is known and not from the source alone.
        steps: steps from noise to picture.
        guidance: scale of the push.
    """
    usual = _usual(method)
    scale = usual.guidance.scale if guidance is None else guidance
    return replace(
        usual,
        num_steps=usual.num_steps if steps is None else steps,
        guidance=replace(usual.guidance, scale=scale),
    )


def _usual(method: MethodName) -> EditSettings:
    match method:
        case "flow-edit":
            return USUAL_EDIT
        case "flow-edit-cfg":
            return FlowEdit(away_from="nothing")
        case "inversion":
            return Inversion()
        case "rf-inversion":
            return RFInversion()
        case "sdedit":
            return SDEdit()
