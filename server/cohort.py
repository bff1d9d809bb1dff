"""What the gate holds a round's updates against: what was asked for, and what the others sent."""

import math
from collections.abc import Mapping

from federation.config import StudyConfig, study_digest
from federation.messages import Refusal
from federation.schedule import site_adapter, trained_tensors
from federation.stages import FullStage, LoraStage
from model.low_rank import shapes_at_rank
from server.admission import Expectation, inspect_norms
from server.records import Part
from server.state import GlobalState
from server.store import StudyStore


def expectation(study: StudyConfig, state: GlobalState, site: str) -> Expectation:
    """What the gate holds a hospital's update of the next round against."""
    number = state.round_number + 1
    _, stage = study.stage_of(number)
    shapes = state.weights.shapes
    if isinstance(stage, LoraStage):
        shapes = shapes_at_rank(shapes, site_adapter(stage, site).rank)
    trained = trained_tensors(study, number, frozenset(shapes))
    return Expectation(
        study_digest=study_digest(study),
        round_number=number,
        received_digest=state.digest,
        num_steps=stage.local.local_steps,
        shapes={name: shapes[name] for name in sorted(trained)},
        needs_counts=study.rounds.site_weights == "records",
        encoding=study.transport.upload,
        shard_values=study.transport.shard_values,
        is_private=stage.local.privacy is not None,
    )


def outliers(
    store: StudyStore, state: GlobalState, parts: Mapping[str, Part]
) -> dict[str, Refusal]:
    """Refusals for changes far larger than this round's others or, if those are few, than earlier ones.

    Earlier changes compare if they were admitted, in this stage, and to the same tensors. An adapter of a smaller rank
    changes less: its norm counts as that of one of the stage's rank, as far as norms grow with the root of the rank.
    """
    study, number, names = store.study, state.round_number + 1, frozenset(state.weights.shapes)
    first = study.first_round_of(study.stage_of(number)[0])
    trained = trained_tensors(study, number, names)
    alike = {
        past for past in range(first, number) if trained_tensors(study, past, names) == trained
    }
    stage = study.stage_of(number)[1]
    norms = {
        site: _comparable(part, stage) for site, part in parts.items() if part.state == "admitted"
    }
    earlier = [
        _comparable(part, stage)
        for part in store.parts()
        if part.state == "admitted" and part.number in alike
    ]
    return inspect_norms(norms, earlier=earlier, max_ratio=study.rounds.max_norm_ratio)


def _comparable(part: Part, stage: FullStage | LoraStage) -> float:
    norm = part.norm or 0.0
    if isinstance(stage, FullStage):
        return norm
    return norm * math.sqrt(stage.rank / site_adapter(stage, part.site).rank)
