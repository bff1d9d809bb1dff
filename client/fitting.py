"""Whether the tensors that a coordinator sends are those of the study's network; looked at before any of them is fetched."""

import numpy as np

from client.refused import NotTaken
from federation.config import StudyConfig
from federation.messages import Instruction, RefusalCode
from federation.stages import FullStage, LoraStage
from model.adapter import adapter_shapes
from model.checkpoint import network_shapes
from model.conditioning import Schema
from model.tensors import Shapes, Tensors, pieces_of


def check_names(instruction: Instruction, study: StudyConfig, stage: FullStage | LoraStage) -> None:
    """See that weights and frozen model are announced with the names and shapes that the study gives them.

    Raises:
        NotTaken: one is missing, unknown, or of another shape.
    """
    whole = network_shapes(study.model_config, Schema(study.findings))
    if isinstance(stage, FullStage):
        _compare(instruction.weights.parcel.shapes, whole)
        return
    _compare(instruction.weights.parcel.shapes, adapter_shapes(study.model_config, stage.adapter))
    if instruction.base is not None:
        _compare(instruction.base.parcel.shapes, whole)


def check_finite(adapter: Tensors) -> None:
    """See that every value of an adapter is a number, before its training is paid for.

    Raises:
        NotTaken: one is infinite or none.
    """
    for piece in pieces_of(adapter.shapes):
        if not np.isfinite(adapter.piece(piece)).all():
            reason = f"tensor {piece.name} of the instruction holds values that are not finite"
            raise NotTaken(RefusalCode.NOT_FINITE, reason)


def _compare(announced: Shapes, expected: Shapes) -> None:
    for name in sorted({*announced, *expected}):
        if announced.get(name) != expected.get(name):
            shown = name if name in expected else "of an unknown name"
            reason = f"the instruction's tensor {shown} is not one of the study's network"
            raise NotTaken(RefusalCode.TENSORS, reason)
