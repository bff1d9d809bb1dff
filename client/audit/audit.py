"""The audit of one model at one hospital, from its ledger to the attacks."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from client.audit.claim import read_promise
from client.audit.evidence import Evidence, NotRun
from client.audit.guessing import TooFewPatients, guess_members
from client.audit.reading_back import NobodyToRead, read_back
from client.audit.repeating import TooFewHeldOut, find_repeated
from client.audit.report import Facts, facts_of
from client.audit.sent import kept_updates
from client.audit.subject import Subject, WrongSubject, open_subject
from client.config import SiteConfig
from federation.config import StudyConfig, study_digest
from model.evaluation.features import FeaturesUnusable
from privacy.audit.canaries import Plan, Rehearsal, rehearse
from privacy.training.gradients import Ghost, Materialised

logger = logging.getLogger(__name__)

SEED = 0
"""Of radiographs, noise and searches: the same model at the same hospital gives the same report."""

Result = TypeVar("Result")


def audit(
    site: SiteConfig,
    model: Path,
    *,
    base: Path | None = None,
    study: StudyConfig | None = None,
    plan: Plan | None = None,
) -> Facts:
    """Gather the claim, try the attacks, and judge; reads everything and changes nothing.

    Args:
        site: the hospital.
        model: folder of the model, or of an adapter.
        base: folder of the model that it grew from; an adapter needs it.
        study: the plan of the study that made the model, to name its constants.
        plan: of the rehearsal; the usual one if None.

    Raises:
        WrongSubject: the model, its base, its study and the cache do not belong together.
        WrongModelFile, CacheMissing, CacheUnusable, ConfigError: something cannot be read.
    """
    torch.set_num_threads(site.num_threads)
    subject = open_subject(site, model, base)
    made_by = subject.manifest.study_digest
    if study is not None and study_digest(study) != made_by:
        raise WrongSubject(
            f"{study.name} is not the study that made {model}: give its plan or none"
        )
    promise = read_promise(site, made_by, study)
    noise = None if promise.claim is None else promise.claim.noise_multiplier
    records = subject.records
    evidence = Evidence(
        promise=promise,
        num_training_patients=len(np.unique(records.patients[~records.held_out])),
        sent=kept_updates(site.state_path, promise.book),
        rehearsal=_rehearsed(subject, plan),
        membership=_tried("membership", lambda: guess_members(subject, seed=SEED)),
        repeated=_tried("copies", lambda: find_repeated(subject, seed=SEED)),
        read_back=_tried(
            "inversion", lambda: read_back(subject, noise_multiplier=noise, seed=SEED)
        ),
    )
    return facts_of(subject, evidence, when=datetime.now(UTC))


def _rehearsed(subject: Subject, plan: Plan | None) -> Rehearsal:
    """With the way of clipping that trains such a model."""
    logger.info("audit: rehearsal")
    return rehearse(plan, way=Ghost if subject.manifest.adapter is None else Materialised)


def _tried(what: str, attack: Callable[[], Result]) -> Result | NotRun:
    """What an attack finds, or why it cannot be tried with these records."""
    logger.info("audit: %s", what)
    try:
        return attack()
    except (TooFewPatients, TooFewHeldOut, NobodyToRead, FeaturesUnusable) as err:
        return NotRun(why=str(err))
