"""A stress test: a classifier on generated groups of radiographs, and on radiographs with one thing changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.cache.records import Records
from model.editing.settings import FlowEdit
from model.generate import Generator, draw_batches
from model.sampler import Sampling
from synthesis.stress.axes import Asked, Axis, ask
from synthesis.stress.changes import changes
from synthesis.stress.classifier import Classifier
from synthesis.stress.figures import Scored
from synthesis.stress.flips import Answers, Flips, count_flips
from synthesis.stress.judges import Judge, Reference, score_all, train_reference
from synthesis.stress.pairs import Originals, Pairs, edit_pairs
from synthesis.stress.real_set import RealSet, held_out_with
from synthesis.stress.tables import Measuring, Table, tabulate

GENERATED, REAL = "generated radiographs", "real held-out radiographs"

Truth = Asked | RealSet
"""Radiographs of which everything is known."""

OnProgress = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StressPlan:
    """How a stress test is made; with the model and the classifier it decides every number."""

    axes: tuple[Axis, ...]
    others: tuple[str, ...]
    """Findings to add that the answer should not depend on."""

    per_cell: int
    """Radiographs with, and as many without the finding, in every cell."""

    num_edited: int
    """Radiographs to which every change is applied that applies to them."""

    sampling: Sampling
    edits: FlowEdit
    measuring: Measuring
    num_probe_steps: int
    """Training steps of the reference."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Edits:
    """What all changes did to one set of pictures."""

    title: str
    flips: tuple[Flips, ...]
    pairs: tuple[Pairs, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StressResult:
    """Everything that a stress test found."""

    tables: tuple[Table, ...]
    """Of generated radiographs and, if asked for, of real ones."""

    has_reference: bool
    """Whether a reference judged the generated and the edited ones, too."""

    edits: tuple[Edits, ...]
    sample: Tensor
    """(picture, 1, h, w), generated ones to look at."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StressTest:
    """What takes part in a test."""

    generator: Generator
    classifier: Classifier
    plan: StressPlan
    on_progress: OnProgress

    def run(self, records: Records | None) -> StressResult:
        """Generate, edit, ask, count.

        Args:
            records: the hospital's radiographs, if real ones shall be looked at too.
        """
        finding, seed = self.classifier.finding, self.plan.measuring.seed
        schema, per_cell = self.generator.schema, self.plan.per_cell
        real = None if records is None else held_out_with(finding, records)
        asked = ask(self.plan.axes, finding, schema, per_cell=per_cell, seed=seed)
        judges = self._judges(records)
        originals, scores = self._draw(asked, judges)
        tables = [self._tabulate(GENERATED, judges, scores, asked)]
        edits = [self._edit(GENERATED, originals, judges)]
        if real is not None:
            table, real_originals = self._look_at(real, judges)
            tables.append(table)
            edits.append(self._edit(REAL, real_originals, judges))
        return StressResult(
            tables=tuple(tables),
            has_reference=len(judges) > 1,
            edits=tuple(edits),
            sample=originals.images[:: max(1, len(originals.images) // 12)][:12],
        )

    def _judges(self, records: Records | None) -> tuple[Judge, ...]:
        if records is None:
            return (self.classifier,)
        self.on_progress("training the reference", 0, 1)
        reference: Reference | None = train_reference(
            records,
            self.classifier.finding,
            num_steps=self.plan.num_probe_steps,
            seed=self.plan.measuring.seed,
        )
        return (self.classifier,) if reference is None else (self.classifier, reference)

    def _draw(self, asked: Asked, judges: Sequence[Judge]) -> tuple[Originals, NDArray[np.float64]]:
        """Draw and score all; keep the pictures that are going to be edited, evenly from all cells."""
        total = len(asked.rows)
        kept = _spread(total, self.plan.num_edited)
        pictures, scores, done = [], [], 0
        condition = torch.from_numpy(asked.rows)
        seed = self.plan.measuring.seed
        for batch in draw_batches(
            self.generator, condition, seed=seed, sampling=self.plan.sampling
        ):
            scores.append(score_all(judges, [batch]))
            pictures += [batch[place - done] for place in kept if done <= place < done + len(batch)]
            done += len(batch)
            self.on_progress("drawing", done, total)
        everything = np.concatenate(scores, axis=1)
        return (
            Originals(
                images=torch.stack(pictures), rows=asked.rows[kept], scores=everything[:, kept]
            ),
            everything,
        )

    def _look_at(self, real: RealSet, judges: Sequence[Judge]) -> tuple[Table, Originals]:
        self.on_progress("looking at real radiographs", 0, len(real.places))
        scores = score_all(judges, real.batches())
        kept = np.arange(min(self.plan.num_edited, len(real.places)))
        images, rows = real.records.batch(real.places[kept])
        table = self._tabulate(REAL, judges[:1], scores, real)
        return table, Originals(images=images, rows=rows.numpy(), scores=scores[:, kept])

    def _edit(self, title: str, originals: Originals, judges: Sequence[Judge]) -> Edits:
        plan, schema = self.plan, self.generator.schema
        planned = changes(plan.axes, self.classifier.finding, plan.others, schema)
        found = []
        for number, change in enumerate(planned):
            self.on_progress(f"editing {title}", number, len(planned))
            pairs = edit_pairs(
                self.generator,
                judges,
                originals,
                change,
                settings=plan.edits,
                seed=plan.measuring.seed,
            )
            if pairs is not None:
                found.append(pairs)
        return Edits(
            title=title,
            flips=tuple(self._count(pairs, judges, len(found)) for pairs in found),
            pairs=tuple(found),
        )

    def _count(self, pairs: Pairs, judges: Sequence[Judge], num_changes: int) -> Flips:
        answers = [
            Answers(before=before, after=after, threshold=judge.threshold)
            for judge, before, after in zip(judges, pairs.before, pairs.after, strict=True)
        ]
        return count_flips(
            pairs.change,
            answers[0],
            answers[1] if len(answers) > 1 else None,
            num_comparisons=2 * num_changes,
            how=self.plan.measuring,
        )

    def _tabulate(
        self, title: str, judges: Sequence[Judge], scores: NDArray[np.float64], truth: Truth
    ) -> Table:
        """Scores are (judge, picture); the second judge, if there is one, is the reference."""
        scored = [
            Scored(scores=row, sees=row >= judge.threshold, present=truth.present)
            for judge, row in zip(judges, scores, strict=False)
        ]
        return tabulate(
            title,
            scored[0],
            scored[1] if len(scored) > 1 else None,
            rows=truth.rows,
            axes=self.plan.axes,
            schema=self.generator.schema,
            how=self.plan.measuring,
        )


def _spread(total: int, wanted: int) -> list[int]:
    """Up to ``wanted`` of the numbers below ``total``, evenly spread."""
    even: list[int] = (
        np.unique(np.linspace(0, total - 1, min(wanted, total)).round()).astype(int).tolist()
    )
    return even
