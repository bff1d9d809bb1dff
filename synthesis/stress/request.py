"""A stress test as a person asks for it, in words, and what is made of that."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model.conditioning import Schema
from model.editing.settings import CONTRAST, FlowEdit
from model.evaluation.probe import NUM_STEPS
from model.generate import Generator
from model.manifest import Manifest
from model.sampler import Sampling
from synthesis.generation.request import Walk, open_model
from synthesis.generation.wish import UnknownWish
from synthesis.real import open_hospital
from synthesis.stress.axes import USUAL, Axis, UnknownGrouping, parse_axis
from synthesis.stress.classifier import Classifier, InputForm, parse_range
from synthesis.stress.opening import open_classifier
from synthesis.stress.run import OnProgress, StressPlan, StressResult, StressTest
from synthesis.stress.tables import Measuring

USUAL_OTHER = "support_devices"
NUM_RESAMPLES = 2000
"""Enough for the far ends of intervals that are widened for many comparisons."""

PLAIN_GUIDANCE = 3.0
"""Of the sampling."""

WHOLE_WALK = 1.0
"""Share of an edit's steps: a test needs the finding to show, also one that reshapes the heart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierRequest:
    """Which classifier, and what it wants and answers."""

    given: str
    finding: str
    outputs: str | None
    input_size: int | None
    pixel_range: str
    num_channels: int
    is_logit: bool
    threshold: float

    def open(self, image_size: int) -> Classifier:
        """The classifier.

        Args:
            image_size: side of the model's radiographs in pixels, for a classifier that is not said to want another.
        """
        low, high = parse_range(self.pixel_range)
        form = InputForm(
            image_size=self.input_size or image_size,
            low=low,
            high=high,
            num_channels=self.num_channels,
        )
        return Classifier(
            scores=open_classifier(self.given),
            form=form,
            outputs=tuple((self.outputs or self.finding).split(",")),
            finding=self.finding,
            is_logit=self.is_logit,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StressRequest:
    """Everything that was asked for."""

    model: Path
    adapter: Path | None
    codec: Path | None
    classifier: ClassifierRequest
    by: tuple[str, ...]
    """Empty for the usual axes."""

    others: tuple[str, ...]
    """Empty for the usual one."""

    real: Path | None
    per_cell: int
    num_edited: int
    min_cell: int
    num_steps: int | None
    guidance: float | None
    num_edit_steps: int
    edit_guidance: float
    seed: int

    def carry_out(self, on_progress: OnProgress) -> tuple[StressResult, dict[str, object]]:
        """Open everything, test, and say what it was made with.

        Raises:
            UnknownWish, UnknownGrouping, UnknownRange, UnknownOutput, UnknownClassifier: a word that is not known.
            ClassifierUnusable, WrongAnswer, OnnxMissing: the classifier does not do.
            WrongModelFile, CacheDoesNotFit, CacheMissing, CacheUnusable: the model or the radiographs do not.
        """
        generator = open_model(self.model, self.adapter, self.codec)
        test = StressTest(
            generator=generator,
            classifier=self.classifier.open(generator.image_size),
            plan=self._plan(generator),
            on_progress=on_progress,
        )
        records = None if self.real is None else open_hospital(self.real, generator)
        return test.run(records), self._made_with(test)

    def _plan(self, generator: Generator) -> StressPlan:
        schema, sites = generator.schema, generator.manifest.site_numbers
        axes = tuple(parse_axis(text, schema, sites) for text in self.by or USUAL)
        _check_distinct(axes)
        return StressPlan(
            axes=axes,
            others=_others(self.others, self.classifier.finding, schema),
            per_cell=self.per_cell,
            num_edited=self.num_edited,
            sampling=self._sampling(generator.manifest),
            edits=FlowEdit(
                num_steps=self.num_edit_steps,
                guidance=replace(CONTRAST, scale=self.edit_guidance),
                local_share=WHOLE_WALK,
            ),
            measuring=Measuring(
                min_cell=self.min_cell, num_resamples=NUM_RESAMPLES, seed=self.seed
            ),
            num_probe_steps=NUM_STEPS,
        )

    def _sampling(self, manifest: Manifest) -> Sampling:
        """Plainer than usual, so that what was asked for shows; a distilled model draws in its own way."""
        guidance = self.guidance
        if guidance is None and manifest.distilled_steps is None:
            guidance = PLAIN_GUIDANCE
        walk = Walk(steps=self.num_steps, method=None, guidance=guidance, interval=None)
        return walk.sampling(manifest)

    def _made_with(self, test: StressTest) -> dict[str, object]:
        plan, manifest = test.plan, test.generator.manifest
        groups = "; ".join(
            f"{axis.attribute}: {', '.join(group.label for group in axis.groups)}"
            for axis in plan.axes
        )
        return {
            "finding": self.classifier.finding,
            "classifier": Path(self.classifier.given).name,
            "input": str(asdict(test.classifier.form)),
            "threshold": self.classifier.threshold,
            "model": manifest.weights_digest,
            "adapter": test.generator.adapter_digest or "none",
            "groups": groups,
            "radiographs per cell and state": plan.per_cell,
            "radiographs edited": plan.num_edited,
            "sampling": str(asdict(plan.sampling)),
            "editing": str(asdict(plan.edits)),
            "seed": self.seed,
        }


def _others(given: Sequence[str], finding: str, schema: Schema) -> tuple[str, ...]:
    """Other findings to add; the usual one if the model knows it.

    Raises:
        UnknownWish: the model does not know one of them.
    """
    known = tuple(name for name in schema.findings if name != finding)
    for name in given:
        if name not in known:
            raise UnknownWish(name, known)
    return tuple(given) or tuple(name for name in known if name == USUAL_OTHER)


def _check_distinct(axes: Sequence[Axis]) -> None:
    names = [axis.attribute for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UnknownGrouping(f"{name} twice")
