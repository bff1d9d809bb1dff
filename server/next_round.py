"""From admitted changes to the next round's files, piece by piece: nobody holds a model, or a hospital's change.

The weights of a round are the last ones plus the step as it travels: rounded to the study's encoding, then added. So a
hospital that adds the step to what it holds, and one that fetches the whole, have the same bits.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.config import StudyConfig, Transport
from federation.encoding import Encoding, decode, encode, encoded_size
from federation.parcel import Parcel
from federation.schedule import derive_seed, trained_tensors
from federation.stages import FullStage, LoraStage
from model.arrays import replacing
from model.ema import average_piece
from model.tensor_file import TensorWriter, write_all, write_tensors
from model.tensors import (
    Piece,
    Shapes,
    Tensors,
    num_values,
    pieces_of,
    shard_plan,
)
from server.aggregation.combine import combined
from server.aggregation.lora import joint_gap, next_factors
from server.aggregation.outer import moment_names, outer_piece
from server.records import Reached
from server.round_files import AVERAGE, STEP, WEIGHTS, state_path, write_step
from server.state import GlobalState, StoredStep

Movement = Callable[[Piece], NDArray[np.float64]]
"""What is to be added to the values of a piece, flat."""
Draft = Callable[[str, Shapes], TensorWriter]
"""(name of a set of tensors, shapes) -> where to put them."""


class Diverged(RuntimeError):
    """Admitted changes led to weights that are not finite."""

    def __init__(self, round_number: int) -> None:
        super().__init__(
            f"round {round_number} would make the model's weights infinite, so it is not committed: lower the "
            f"learning rate or max_norm_ratio in a new study"
        )


def next_round(
    study: StudyConfig,
    state: GlobalState,
    changes: Mapping[str, Tensors],
    shares: Mapping[str, float],
    folder: Path,
) -> Reached:
    """Write the files of the round after ``state``.

    Args:
        study: Says how changes combine and how the outcome moves the weights.
        state: Where the changes started from.
        changes: Each admitted hospital's.
        shares: Each hospital's share of the mean; they sum to 1.
        folder: Empty.

    Raises:
        Diverged: the weights would not be finite; the folder holds nothing useful.
    """
    number = state.round_number + 1
    _, stage = study.stage_of(number)
    trained = trained_tensors(study, number, frozenset(state.weights.shapes))
    moved = {name: state.weights.shapes[name] for name in sorted(trained)}
    with ExitStack() as drafts:
        writers: dict[str, TensorWriter] = {}

        def draft(name: str, shapes: Shapes) -> TensorWriter:
            path = state_path(folder, name)
            writers[name] = drafts.enter_context(write_tensors(path, shapes))
            return writers[name]

        movement = _movement(study, state, changes, shares, draft)
        weights = _NextWeights(study=study, state=state, draft=draft)
        step = drafts.enter_context(_open_step(study, state, moved, folder))
        for index, pieces in enumerate(shard_plan(moved, max_values=study.transport.shard_values)):
            weights.move(pieces, step.travel(index, _rounded(movement, pieces)))
        weights.finish()
    kept = step.stored(state.digest, moved)
    if kept is not None:
        write_step(folder, kept)
    return Reached(
        number=number,
        digests={name: writer.digest for name, writer in writers.items()},
        base_digest=state.base_digest,
        shards=writers[WEIGHTS].shards,
        gap=_gap(stage, state, changes, shares),
    )


def _movement(
    study: StudyConfig,
    state: GlobalState,
    changes: Mapping[str, Tensors],
    shares: Mapping[str, float],
    draft: Draft,
) -> Movement:
    """What the stage's rules make of the changes; asked for piece after piece, in order."""
    index, stage = study.stage_of(state.round_number + 1)
    if isinstance(stage, LoraStage) and stage.rule == "product-svd":
        factors = next_factors(stage, state.weights, changes, shares)

        def towards(piece: Piece) -> NDArray[np.float64]:
            return factors.piece(piece).astype(np.float64) - state.weights.piece(piece)

        return towards
    change = combined(stage.combine, changes, shares)
    if isinstance(stage, LoraStage):
        return change
    round_in_stage = state.round_number + 2 - study.first_round_of(index)
    return _OuterStep(
        stage=stage, state=state, change=change, round_in_stage=round_in_stage, draft=draft
    )


class _OuterStep:
    """The outer step on one piece after another; what it remembers goes into files of its own."""

    def __init__(
        self,
        *,
        stage: FullStage,
        state: GlobalState,
        change: Movement,
        round_in_stage: int,
        draft: Draft,
    ) -> None:
        self._stage, self._change, self._round = stage, change, round_in_stage
        self._before = {name: getattr(state, name) for name in moment_names(stage.outer)}
        self._after = {name: draft(name, state.weights.shapes) for name in self._before}

    def __call__(self, piece: Piece) -> NDArray[np.float64]:
        before = {
            name: np.zeros(piece.num_values, np.float32) if kept is None else kept.piece(piece)
            for name, kept in self._before.items()
        }
        movement, after = outer_piece(
            self._stage.outer, self._change(piece), before, round_in_stage=self._round
        )
        for name, writer in self._after.items():
            writer.put(piece, after[name])
        return movement


class _NextWeights:
    """The next weights and their moving average, in order; tensors that do not train are copied on the way."""

    def __init__(self, *, study: StudyConfig, state: GlobalState, draft: Draft) -> None:
        _, stage = study.stage_of(state.round_number + 1)
        self._state, self._number = state, state.round_number + 1
        self._decay = stage.ema_decay if isinstance(stage, FullStage) else 0.0
        self._weights = draft(WEIGHTS, state.weights.shapes)
        self._average = draft(AVERAGE, state.weights.shapes) if self._decay > 0 else None
        self._resting = sorted(state.weights.shapes)

    def move(self, pieces: tuple[Piece, ...], steps: NDArray[np.float32]) -> None:
        """Add steps to the values of some pieces, one after the other."""
        end = 0
        for piece in pieces:
            self._copy_until(piece.name)
            for block in piece.blocks():
                start, end = end, end + block.num_values
                with np.errstate(over="ignore", invalid="ignore"):
                    self._put(block, self._state.weights.piece(block) + steps[start:end])

    def finish(self) -> None:
        """Copy what is left."""
        self._copy_until(None)

    def _copy_until(self, name: str | None) -> None:
        while self._resting and self._resting[0] != name:
            if name is not None and self._resting[0] > name:
                return
            resting = self._resting.pop(0)
            for piece in pieces_of({resting: self._state.weights.shapes[resting]}):
                self._put(piece, self._state.weights.piece(piece))
        if self._resting:
            self._resting.pop(0)

    def _put(self, piece: Piece, values: NDArray[np.float32]) -> None:
        if not np.isfinite(values).all():
            raise Diverged(self._number)
        self._weights.put(piece, values)
        if self._average is not None:
            before = self._state.average
            average = values if before is None else before.piece(piece)
            self._average.put(piece, average_piece(average, values, decay=self._decay))


@dataclass(kw_only=True, slots=True)
class _Step:
    """The step as hospitals will get it, shard after shard."""

    encoding: Encoding
    shard_values: int
    seed: Callable[[int], int]
    """Number of a shard -> what decides its rounding, so that the same round has the same bits."""
    file: FileIO | None
    """None if keeping the step would save nothing."""
    digests: list[str] = field(default_factory=list)

    def travel(self, index: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What arrives of a shard of the step."""
        if self.encoding == "fp32" and self.file is None:
            return values
        content = encode(values, self.encoding, np.random.default_rng(self.seed(index)))
        if self.file is not None:
            self.digests.append(hashlib.sha256(content).hexdigest())
            write_all(self.file, content)
        return decode(lambda first, last: content[first:last], self.encoding, 0, len(values))

    def stored(self, from_digest: str, shapes: Shapes) -> StoredStep | None:
        """The step's description, once all of it has travelled."""
        if self.file is None:
            return None
        parcel = Parcel(
            shapes=shapes,
            encoding=self.encoding,
            digests=tuple(self.digests),
            shard_values=self.shard_values,
        )
        return StoredStep(from_digest=from_digest, parcel=parcel)


@contextmanager
def _open_step(
    study: StudyConfig, state: GlobalState, moved: Shapes, folder: Path
) -> Iterator[_Step]:
    """A step that is kept beside the round's files if that spares hospitals a larger download."""
    transport = study.transport
    step = _Step(
        encoding=transport.download,
        shard_values=transport.shard_values,
        seed=partial(derive_seed, study, "step", state.round_number + 1),
        file=None,
    )
    if not keeps_step(transport, state.weights.shapes, moved):
        yield step
        return
    with replacing(folder / STEP) as partial_path, partial_path.open("wb", buffering=0) as file:
        step.file = file
        yield step


def _rounded(movement: Movement, pieces: tuple[Piece, ...]) -> NDArray[np.float32]:
    """The movement of some pieces, one after the other; in float64 there is no more of it than a block."""
    values, end = np.empty(sum(piece.num_values for piece in pieces), np.float32), 0
    for piece in pieces:
        for block in piece.blocks():
            start, end = end, end + block.num_values
            with np.errstate(over="ignore"):
                values[start:end] = movement(block)
    return values


def keeps_step(transport: Transport, weights: Shapes, moved: Shapes) -> bool:
    """Whether the step spares hospitals a larger download than itself."""
    whole = encoded_size(num_values(weights), "fp32")
    step = encoded_size(num_values(moved), transport.download)
    return whole > transport.inline_bytes and step < whole


def _gap(
    stage: FullStage | LoraStage,
    state: GlobalState,
    changes: Mapping[str, Tensors],
    shares: Mapping[str, float],
) -> float | None:
    """How far rule ``joint`` is from the mean product."""
    if isinstance(stage, LoraStage) and stage.rule == "joint":
        return joint_gap(state.weights, changes, shares)
    return None
