"""A reader study made: held-out radiographs, as many synthetic ones for the same conditions, one page per reader."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from client.cache.records import Records
from federation.files import write_file
from model.generate import Generator, draw
from model.sampler import Sampling
from synthesis.inline_pictures import grey_values
from synthesis.reader_study.booklet import (
    KEY_NAME,
    READERS_FOLDER,
    Key,
    Kind,
    make_booklet,
    study_mark,
    write_key,
)
from synthesis.reader_study.page import render_page
from synthesis.real import one_of_each_patient

KINDS: tuple[Kind, Kind] = ("real", "synthetic")


class TooFewHeldOut(ValueError):
    """The hospital kept fewer patients from training than the study needs."""

    def __init__(self, *, found: int, wanted: int) -> None:
        remedy = (
            f"give --n {2 * found} or less" if found else "ingest with a held_out_share above 0"
        )
        super().__init__(
            f"the study needs {wanted} real radiographs of different held-out patients, the cache has {found}: {remedy}"
        )


class OddNumber(ValueError):
    """Half of an odd number of radiographs cannot be real."""

    def __init__(self, num_pictures: int) -> None:
        super().__init__(
            f"half of the radiographs are real, so {num_pictures} will not do: give an even number"
        )


class StudyExists(FileExistsError):
    """A study lies there already; its key must not be lost."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds a reader study already: give another folder, or delete that one once its answers are scored"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan:
    """How large a study is and how its synthetic radiographs are drawn."""

    num_pictures: int
    """In all; half of them are real."""

    num_readers: int
    num_presentations: int
    """How often a reader sees each picture."""

    seed: int
    """Decides everything; whoever knows it and has the model and the cache can tell what is real."""

    sampling: Sampling

    def __post_init__(self) -> None:
        if self.num_pictures % 2:
            raise OddNumber(self.num_pictures)
        if min(self.num_pictures, self.num_readers, self.num_presentations) < 1:
            raise ValueError("a study needs radiographs, readers and presentations")


def make_study(generator: Generator, records: Records, plan: StudyPlan, folder: Path) -> list[Path]:
    """Choose, draw, and write the key and the pages.

    Args:
        generator: draws the synthetic half.
        records: the hospital's cache; see ``open_real``.
        plan: how large.
        folder: gets the key, and the pages in a folder of their own, all readable by their owner only.

    Returns:
        The pages, one per reader.

    Raises:
        TooFewHeldOut: for the number of real radiographs, each of another patient.
        StudyExists: the folder holds one.
    """
    if (folder / KEY_NAME).exists():
        raise StudyExists(folder)
    half = plan.num_pictures // 2
    rng = np.random.default_rng([plan.seed, 0])
    held_out = one_of_each_patient(records, records.held_out, rng)
    if len(held_out) < half:
        raise TooFewHeldOut(found=len(held_out), wanted=half)
    real, conditions = records.batch(held_out[:half])
    synthetic = draw(generator, conditions, seed=plan.seed, sampling=plan.sampling)
    return _write(generator, plan, torch.cat([real, synthetic]), folder)


def _write(generator: Generator, plan: StudyPlan, images: torch.Tensor, folder: Path) -> list[Path]:
    """The key first: pages without it would be of no use."""
    digest = generator.manifest.weights_digest
    study = study_mark(plan.seed, digest, plan.num_pictures)
    booklets = [
        make_booklet(
            study,
            reader=reader,
            num_pictures=plan.num_pictures,
            num_presentations=plan.num_presentations,
            seed=plan.seed,
        )
        for reader in range(1, plan.num_readers + 1)
    ]
    half = plan.num_pictures // 2
    key = Key(
        study=study,
        seed=plan.seed,
        num_presentations=plan.num_presentations,
        kinds=tuple(kind for kind in KINDS for _ in range(half)),
        marks={booklet.reader: booklet.marks for booklet in booklets},
        made_with={
            "model": digest,
            "adapter": generator.adapter_digest or "none",
            "sampling": _in_words(plan.sampling),
        },
    )
    write_key(folder, key)
    pictures = grey_values(images)
    pages = []
    for booklet in booklets:
        page = folder / READERS_FOLDER / f"reader-{booklet.reader}.html"
        write_file(page, render_page(booklet, pictures).encode())
        pages.append(page)
    return pages


def _in_words(sampling: Sampling) -> str:
    return f"{sampling.num_steps} {sampling.method} steps, guidance {sampling.guidance.scale:g}"
