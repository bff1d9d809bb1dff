"""All of a hospital's sources -> its cache, the same whatever the order, the workers and the number of ingests."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from client.cache.cipher import load_key
from client.cache.compaction import compact
from client.cache.journal import RECORD
from client.cache.layout import cache_path
from client.cache.stock import Stock, open_stock
from client.cache.writer import cache_lock, publish, withdraw
from client.config import SiteConfig
from client.control.quota import require_room_for_records
from client.dicom.rejection import Reason
from client.guard.pool import read_all
from client.intake.opaque import Keys
from client.intake.opt_out import apply_opt_outs, read_opt_outs
from client.intake.publication import Told, make_contents
from client.intake.reading import Intake, Offer, OnProgress, offers_of
from client.labels.presets import load_mapping, load_report_terms
from client.labels.report_terms import ReportTerms
from client.labels.report_text import ReportRules
from client.labels.structured_report import states_of_report
from client.labels.table import NO_LABELS, read_labels
from client.sources.configured import sources_of
from client.sources.item import Source
from client.tally import Tally
from privacy.patient import load_or_create_secret, opaque_name

logger = logging.getLogger(__name__)

PIPELINE_VERSION = 2
"""Raised whenever the same file and settings would give another record."""


class NoUsableRadiograph(ValueError):
    """Every source was read to its end and nothing in it can be used."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(
            f"No usable radiograph: {tally}. The data manager points the profile's data_path, dicomweb or "
            "receiver at chest radiographs in DICOM (CR or DX) and types the same command again."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What an ingest led to."""

    tally: Tally
    """Over everything in the cache now."""
    num_read: int
    """Items that were new or had changed, and so were read this time."""
    num_gone: int
    """Items that left the cache because their source no longer has them."""
    num_to_be_sent: int
    """Items that left the cache because everything was read anew, and that a PACS has to send again."""
    unmapped: Mapping[str, int] = field(repr=False)
    """The most frequent terms of the labels that their mapping does not know -> rows."""

    def __str__(self) -> str:
        """The tally's line, one about this time, and what was odd about the labels."""
        lines = [str(self.tally)]
        lines.append(f"{self.num_read} read this time, {self.num_gone} no longer there")
        if self.num_to_be_sent:
            lines.append(
                f"{self.num_to_be_sent} that a PACS had sent are lost: have it send them again"
            )
        problems = sorted(self.tally.label_problems.items())
        if problems:
            told = (f"{count} {problem.value.replace('_', ' ')}" for problem, count in problems)
            lines.append(f"labels: {', '.join(told)}")
        if self.unmapped:
            terms = (f"{term} ({count})" for term, count in self.unmapped.items())
            lines.append(f"not in the mapping of the labels: {', '.join(terms)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, int | dict[str, int]]:
        """Plain numbers under plain names."""
        return {
            **self.tally.to_json(),
            "num_read": self.num_read,
            "num_gone": self.num_gone,
            "num_to_be_sent": self.num_to_be_sent,
            "unmapped": dict(self.unmapped),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    """Everything besides the sources that an ingest is made with, checked before anything is read."""

    keys: Keys = field(repr=False)
    cache_key: bytes | None = field(repr=False)
    told: Told
    report_terms: ReportTerms
    opted_out: frozenset[int] = field(repr=False)
    digest: str


def ingest(
    site: SiteConfig,
    *,
    num_workers: int | None = None,
    rebuild: bool = False,
    on_progress: OnProgress | None = None,
) -> Ingested:
    """Read what is new in a hospital's sources, and replace its cache by all that is usable.

    Args:
        site: The hospital's profile.
        num_workers: Reading processes; None for one a processor.
        rebuild: Read everything anew.
        on_progress: Called with the files read and the files to be read.

    Raises:
        SourceFailed, LabelsUnusable, OptOutUnusable, ConfigError, SecretUnusable, CacheKeyUnusable,
        CacheBusy, CacheUnusable, NotThereTwice, JournalDamaged, NoUsableRadiograph, ReaderKilled, QuotaReached:
            each with one sentence for the person who can help; the cache is as before.
    """
    return ingest_from(
        sources_of(site), site, num_workers=num_workers, rebuild=rebuild, on_progress=on_progress
    )


def ingest_from(
    sources: Sequence[Source],
    site: SiteConfig,
    *,
    num_workers: int | None = None,
    rebuild: bool = False,
    on_progress: OnProgress | None = None,
) -> Ingested:
    """The same from other sources than the profile names."""
    settings = _settings_of(site)
    with (
        cache_lock(cache_path(site)) as scratch,
        open_stock(
            cache_path(site),
            settings=settings.digest,
            key=settings.cache_key,
            image_size=site.image_size,
            rebuild=rebuild,
        ) as stock,
    ):
        offers = offers_of(sources, settings.keys)
        apply_opt_outs(stock.journal, settings.opted_out)
        intake = Intake(
            stock,
            settings.keys,
            opted_out=settings.opted_out,
            states_of=partial(
                states_of_report,
                rules=ReportRules(settings.report_terms),
                findings=tuple(settings.report_terms.findings),
            ),
            scratch=scratch,
            require_room=partial(require_room_for_records, site),
        )
        read = partial(
            read_all, image_size=site.image_size, policy=site.reading, num_workers=num_workers
        )
        num_read = intake.read(offers, read, on_progress or _no_progress)
        return _publish(stock, site, settings, offers, intake.lost, num_read=num_read)


def settings_digest(site: SiteConfig, secret: bytes, report_terms: ReportTerms) -> str:
    """SHA-256 of everything but the sources and labels that decides what is read from a file.

    Args:
        site: The hospital's profile.
        secret: Makes the opaque keys.
        report_terms: How reports are read.
    """
    settings = {
        "pipeline": PIPELINE_VERSION,
        "image_size": site.image_size,
        "policy": asdict(site.reading),
        "report_terms": asdict(report_terms),
        "secret": opaque_name(secret, "secret").hex(),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _settings_of(site: SiteConfig) -> _Settings:
    cache_key = load_key(site.cache_key_path)
    keys = Keys(load_or_create_secret(site.state_path / "patient.secret"))
    mapping = load_mapping(site.label_mapping, Path())
    labels = NO_LABELS
    if site.labels_path is not None:
        labels = read_labels(site.labels_path, mapping, site.findings)
    terms = load_report_terms(mapping.report_terms)
    return _Settings(
        keys=keys,
        cache_key=cache_key,
        told=Told(labels=labels, mapping=mapping, keys=keys),
        report_terms=terms,
        opted_out=read_opt_outs(site.opt_out_path, keys),
        digest=settings_digest(site, keys.secret, terms),
    )


def _publish(
    stock: Stock,
    site: SiteConfig,
    settings: _Settings,
    offers: Sequence[Offer],
    lost: Sequence[Offer],
    *,
    num_read: int,
) -> Ingested:
    """Make a version of what the sources have by now; without anything usable, leave all as it is."""
    offered = {offer.key for offer in offers}
    known = list(stock.journal.standing())
    gone = {item.key for item in known if item.mirrored and item.key not in offered}
    standing = [item for item in known if item.key not in gone]
    is_usable = any(item.outcome == RECORD for item in standing)
    if is_usable:
        stock.journal.forget(gone)
        compact(stock)
    contents = make_contents(
        stock,
        standing,
        settings.told,
        offers=offers,
        num_lost=len({offer.key for offer in lost} - {item.key for item in known}),
        findings=site.findings,
    )
    tally = contents.tally
    if not is_usable:
        if tally.refused.get(Reason.OPTED_OUT):  # the old version may hold who objects by now
            withdraw(stock.cache_path)
        raise NoUsableRadiograph(tally)
    publish(stock, contents)
    logger.info("ingest finished: usable=%d files=%d", tally.num_usable, tally.num_files)
    return Ingested(
        tally=tally,
        num_read=num_read - len(lost),
        num_gone=len(gone),
        num_to_be_sent=stock.num_left_behind,
        unmapped=settings.told.labels.unmapped,
    )


def _no_progress(num_done: int, num_all: int) -> None:
    pass
