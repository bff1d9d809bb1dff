"""What was typed after `fedcxr evaluate`, done: the report is written when everything is measured, or not at all."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from federation.files import sync_folder
from model.generate import Generator
from synthesis.evaluation.drawn import OnProgress, Studio
from synthesis.evaluation.evaluate import Evaluation, evaluate
from synthesis.evaluation.hospitals import open_hospitals
from synthesis.evaluation.pictures import pictures
from synthesis.evaluation.plan import Plan
from synthesis.evaluation.report import FACTS, PAGE, FolderInUse, write_report


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A model, radiographs, a plan and a place for the report."""

    generator: Generator
    student: Generator | None = None
    """A model distilled from it, to be measured on the curve of steps."""

    real: tuple[Path, ...]
    """Caches, or hospitals' profiles."""

    unseen: tuple[Path, ...]
    """The same of hospitals that took no part in the training."""

    plan: Plan
    out: Path
    """A folder that is not there yet."""


class OtherStudent(ValueError):
    """Two models that cannot be asked for the same pictures."""

    def __init__(self) -> None:
        super().__init__(
            "the student draws another size of pictures or knows other attributes than the model: give a student that "
            "`fedcxr distill` made from this model"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A finished report."""

    out: Path
    evaluation: Evaluation

    def facts(self) -> Mapping[str, object]:
        """For a program."""
        pooled = self.evaluation.fidelity[0].groups[0]
        return {
            "page": str(self.out / PAGE),
            "facts": str(self.out / FACTS),
            "frechet": pooled.drawn.frechet,
            "frechet_floor": pooled.real.frechet,
            "frechet_n": pooled.num_each,
            "copies": self.evaluation.copying.flagged.count,
        }

    def text(self) -> str:
        """For a person: what each section came to."""
        found = self.evaluation
        verdicts = {
            "fidelity": found.fidelity[0].verdict,
            "control": found.control[0].verdict,
            "use in training": found.utility.verdict,
            "copies": found.copying.verdict,
            "plausibility": found.anatomy.verdict,
        }
        lines = [f"{name}: {verdict}" for name, verdict in verdicts.items()]
        return "\n".join([*lines, f"report: {self.out / PAGE}"])


def run(job: Job, on_progress: OnProgress) -> Done:
    """Measure and write.

    Raises:
        FolderInUse: there is something at ``out``.
        OtherStudent: the student draws other pictures, or knows other attributes.
        Other errors: as ``open_hospitals`` and ``evaluate``.
    """
    if job.out.exists():
        raise FolderInUse(job.out)
    if job.student and not _alike(job.student, job.generator):
        raise OtherStudent
    hospitals = open_hospitals(job.real, job.generator, job.unseen)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.out.parent, prefix=f".{job.out.name}-") as draft:
        studio = Studio(generator=job.generator, folder=Path(draft), on_progress=on_progress)
        student = replace(studio, generator=job.student) if job.student else None
        measured = evaluate(studio, hospitals, job.plan, student)
        shown = pictures(
            measured,
            job.generator.schema,
            job.generator.manifest.site_numbers,
            with_real=job.plan.with_real_pictures,
        )
        report = Path(draft) / "report"
        write_report(report, measured.evaluation, shown)
        report.rename(job.out)
    sync_folder(job.out.parent)
    return Done(out=job.out, evaluation=measured.evaluation)


def _alike(student: Generator, model: Generator) -> bool:
    return (student.image_size, student.schema) == (model.image_size, model.schema)
