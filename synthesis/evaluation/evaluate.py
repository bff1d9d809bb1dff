"""One evaluation from end to end: choose radiographs, draw samples, train the probe, measure section by section."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from model.conditioning import Schema
from model.evaluation.encoders.builtin import ProbeEncoder
from model.evaluation.encoders.choice import BUILTIN, open_encoder
from model.evaluation.encoders.encoder import Encoder
from model.evaluation.probe import Probe
from model.generate import usual_sampling
from model.sampler import Method
from synthesis.evaluation.anatomy import Anatomy, anatomy, is_frontal, passed
from synthesis.evaluation.chexgenbench import Through299
from synthesis.evaluation.codec_loss import CodecLoss, codec_loss
from synthesis.evaluation.control import Control, control
from synthesis.evaluation.copying import Copying, copying, gallery, joined
from synthesis.evaluation.distances import Features
from synthesis.evaluation.diversity import Diversity, diversity
from synthesis.evaluation.drawn import Studio
from synthesis.evaluation.estimate import Weights, patient_weights
from synthesis.evaluation.fidelity import Fidelity, features_of, fidelity
from synthesis.evaluation.hospitals import Hospitals
from synthesis.evaluation.material import Chosen, Samples, choose, draw_all
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.probing import learn, read
from synthesis.evaluation.radiographs import Radiographs
from synthesis.evaluation.reading import Reading
from synthesis.evaluation.setup import Setup, setup
from synthesis.evaluation.steps_curve import (
    MODEL,
    STUDENT,
    Contender,
    Judges,
    StepsCurve,
    steps_curve,
)
from synthesis.evaluation.subgroups import Evidence, Subgroups, groups_of, subgroups
from synthesis.evaluation.utility import Readings, TrainedOn, Utility, utility


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Every number of the report."""

    setup: Setup
    fidelity: tuple[Fidelity, ...]
    """By encoder."""

    diversity: Diversity
    control: tuple[Control, ...]
    """Asked for everything that is known, and for half of it."""

    utility: Utility
    subgroups: Subgroups
    copying: Copying
    anatomy: Anatomy
    steps: StepsCurve | None
    codec: CodecLoss | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """The numbers, and the radiographs that they were taken of, for the pictures of the page."""

    evaluation: Evaluation
    chosen: Chosen
    samples: Samples
    hospitals: Hospitals


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Bench:
    """What the sections share."""

    studio: Studio
    student: Studio | None
    """Where a distilled model draws."""

    hospitals: Hospitals
    plan: Plan
    chosen: Chosen
    samples: Samples
    weights: Weights
    """Of the held-out radiographs, and of the samples with their conditions."""

    @property
    def schema(self) -> Schema:
        return self.studio.generator.schema


def evaluate(
    studio: Studio, hospitals: Hospitals, plan: Plan, student: Studio | None = None
) -> Measured:
    """Measure a model against radiographs; equal arguments give equal numbers on one machine, but for seconds.

    Args:
        studio: the model, and where its samples are kept meanwhile.
        hospitals: real radiographs.
        plan: what to measure.
        student: a model distilled from it, in the same folder, for the curve of steps; knows the same attributes.

    Raises:
        TooFewHeldOut: see ``choose``.
        UnknownEncoder, EncoderUnusable: an encoder is none.
        ProbeUntrainable: too little is known of the radiographs.
    """
    chosen, schema = choose(hospitals, plan), studio.generator.schema
    given = {word: open_encoder(word) for word in plan.encoders if word != BUILTIN}
    studio.on_progress("training the probe", 0, 1)
    probe = learn([chosen.for_probe], schema, seed=plan.seed, num_steps=plan.num_probe_steps)
    own = ProbeEncoder(probe, trained_on=f"{len(chosen.for_probe)} training radiographs")
    encoders = [_seen_by(given.get(word, own), plan) for word in plan.encoders]
    samples = draw_all(studio, chosen, plan)
    weights = patient_weights(
        chosen.held_out.patients,
        num_resamples=plan.num_resamples,
        generator=np.random.default_rng(plan.seed),
    )
    bench = _Bench(
        studio=studio,
        student=student,
        hospitals=hospitals,
        plan=plan,
        chosen=chosen,
        samples=samples,
        weights=weights,
    )
    return Measured(
        evaluation=_sections(bench, probe, encoders),
        chosen=chosen,
        samples=samples,
        hospitals=hospitals,
    )


def _seen_by(encoder: Encoder, plan: Plan) -> Encoder:
    """The encoder, behind the published protocol's first step if that is asked for."""
    return Through299(encoder) if plan.protocol == "chexgenbench" else encoder


def _sections(bench: _Bench, probe: Probe, encoders: list[Encoder]) -> Evaluation:
    held_out, generator = bench.chosen.held_out, bench.studio.generator
    features = [_features(bench, encoder) for encoder in encoders]
    evidence, classifiers = _evidence(bench, probe), _classifiers(bench)
    judges = Judges(encoder=encoders[0], probe=probe, schema=bench.schema)
    return Evaluation(
        setup=setup(generator, bench.hospitals, bench.chosen, bench.plan, probe),
        fidelity=tuple(
            fidelity(encoder, (held_out, real), drawn, bench.schema, bench.plan)
            for encoder, (real, drawn) in zip(encoders, features, strict=True)
        ),
        diversity=_diversity(bench),
        control=_control(bench, probe, evidence),
        utility=utility(classifiers, bench.weights, num_training=len(bench.chosen.training)),
        subgroups=_subgroups(bench, evidence, classifiers),
        copying=_copying(bench, encoders[0]),
        anatomy=anatomy(
            evidence.drawn_passed, evidence.real_passed, evidence.frontal, bench.weights
        ),
        steps=_steps(bench, features[0][0], judges),
        codec=codec_loss(generator, held_out),
    )


def _features(bench: _Bench, encoder: Encoder) -> tuple[Features, Features]:
    """Of the held-out radiographs, and of the samples with their conditions."""
    say = bench.studio.on_progress
    return (
        features_of(encoder, bench.chosen.held_out, "features, real", say),
        features_of(encoder, bench.samples.held_out, "features, samples", say),
    )


def _evidence(bench: _Bench, probe: Probe) -> Evidence:
    """What probe and plausibility checks find in the same."""
    drawn, real = bench.samples.held_out, bench.chosen.held_out
    bench.studio.on_progress("reading samples", 0, 1)
    return Evidence(
        drawn=read(probe, drawn, bench.schema),
        real=read(probe, real, bench.schema),
        drawn_passed=passed(drawn),
        real_passed=passed(real),
        frontal=is_frontal(real.rows, bench.schema),
    )


def _diversity(bench: _Bench) -> Diversity:
    bench.studio.on_progress("likeness of pairs", 0, 1)
    return diversity(
        bench.samples.repeated,
        bench.samples.held_out,
        bench.chosen.held_out,
        bench.schema,
        np.random.default_rng(bench.plan.seed),
    )


def _control(bench: _Bench, probe: Probe, evidence: Evidence) -> tuple[Control, ...]:
    """For full conditions and for half-open ones; these beside the same attributes of the radiographs."""
    partly = read(probe, bench.samples.half_open, bench.schema)
    first = bench.chosen.held_out.take(np.arange(len(bench.samples.half_open)))
    twins = replace(first, rows=bench.samples.half_open.rows)
    weights = bench.weights[:, : len(twins)]
    return (
        control("everything that is known", evidence.drawn, evidence.real, bench.weights),
        control("half of what is known", partly, read(probe, twins, bench.schema), weights),
    )


def _classifiers(bench: _Bench) -> Readings:
    """What classifiers trained on samples, on real radiographs and on both read of held-out ones."""
    parts: Mapping[TrainedOn, list[Radiographs]] = {
        "synthetic": [bench.samples.training],
        "real": [bench.chosen.training],
        "both": [bench.samples.training, bench.chosen.training],
    }
    found: dict[TrainedOn, Mapping[str, Reading]] = {}
    for number, (way, material) in enumerate(parts.items()):
        bench.studio.on_progress("training classifiers", number, len(parts))
        plan = bench.plan
        one = learn(material, bench.schema, seed=plan.seed, num_steps=plan.num_classifier_steps)
        found[way] = read(one, bench.chosen.held_out, bench.schema)
    return found


def _subgroups(bench: _Bench, evidence: Evidence, classifiers: Readings) -> Subgroups:
    held_out = bench.chosen.held_out
    members = groups_of(held_out.rows, held_out.hospitals, bench.hospitals.names, bench.schema)
    return subgroups(evidence, classifiers, members, bench.weights, bench.plan.min_cell)


def _copying(bench: _Bench, encoder: Encoder) -> Copying:
    """All samples with whole conditions against all radiographs there are."""
    drawn, training, held_out = (
        [gallery(encoder, part, "looking for copies", bench.studio.on_progress) for part in parts]
        for parts in (
            (bench.samples.held_out, bench.samples.training),
            (bench.hospitals.training,),
            (bench.hospitals.held_out,),
        )
    )
    return copying(
        joined(*drawn),
        training[0],
        held_out[0],
        held_out_patients=bench.hospitals.held_out.patients,
        encoder=encoder.name,
    )


def _steps(bench: _Bench, features: Features, judges: Judges) -> StepsCurve | None:
    if not bench.plan.with_steps_curve:
        return None
    contenders = [
        Contender(
            name=MODEL,
            studio=bench.studio,
            sampling=bench.plan.sampling,
            methods=get_args(Method),
        )
    ]
    if bench.student:
        usual = usual_sampling(bench.student.generator.manifest)
        contenders.append(
            Contender(name=STUDENT, studio=bench.student, sampling=usual, methods=("euler",))
        )
    return steps_curve(contenders, bench.chosen.held_out, features, judges, bench.plan)
