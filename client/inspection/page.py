"""One page that shows a hospital its own cache; a single file, readable without a network and without scripts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, select_autoescape

from client.cache.layout import Version, cache_path, current_version
from client.cache.records import Records, open_cache_of
from client.cache.writer import CacheBusy
from client.config import SiteConfig
from client.dicom.outcome import Flag
from client.inspection.advice import FLAGS, LABEL_PROBLEMS, REFUSALS, Advice
from client.inspection.facts import STATES, Facts, count
from client.inspection.record_of_reading import flags_of_records
from client.inspection.sheets import Sheet, flag_sheets, random_sheet
from federation.files import write_file

Code = TypeVar("Code", bound=StrEnum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """A cache, opened and counted."""

    site: SiteConfig
    records: Records
    version: Version
    facts: Facts

    @property
    def is_encrypted(self) -> bool:
        """Whether the cache is encrypted on the disk."""
        return bool(self.version.manifest.key_mark)

    @property
    def num_bytes(self) -> int:
        """Size of the whole cache on the disk."""
        files = (path for path in self.version.cache_path.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def to_json(self) -> dict[str, object]:
        """Everything the page says, without its pictures."""
        cache = {
            "version": self.version.name,
            "format": self.version.manifest.format,
            "encrypted": self.is_encrypted,
            "bytes": self.num_bytes,
        }
        site = {"site": self.site.site_name}
        return site | asdict(self.facts) | {"cache": cache, "tally": self.records.tally.to_json()}

    def __str__(self) -> str:
        """What an ingest would say of it."""
        facts = self.facts
        return (
            f"{facts.num_records} radiographs of {facts.num_patients} patients, {facts.num_held_out} held out\n"
            f"{self.records.tally}"
        )


def inspect(site: SiteConfig) -> Inspected:
    """Open and count a hospital's cache.

    Raises:
        CacheMissing, CacheUnusable, CacheKeyUnusable: as `open_cache_of`.
    """
    records = open_cache_of(site)
    return Inspected(
        site=site,
        records=records,
        version=current_version(cache_path(site)),
        facts=count(records),
    )


def write_page(inspected: Inspected, path: Path, *, seed: int) -> None:
    """Write the page so that only its owner can read it.

    Args:
        inspected: what is shown.
        path: the page.
        seed: decides which radiographs are shown.
    """
    environment = Environment(
        loader=PackageLoader("client"), autoescape=select_autoescape(default=True)
    )
    environment.filters["grouped"] = "{:,}".format
    tally = inspected.records.tally
    page = environment.get_template("inspect.html").render(
        name=inspected.site.site_name,
        inspected=inspected,
        facts=inspected.facts,
        tally=tally,
        states=STATES,
        megabytes=inspected.num_bytes / 1e6,
        refused=_by_count(tally.refused, REFUSALS),
        problems=_by_count(tally.label_problems, LABEL_PROBLEMS),
        flagged=_by_count(tally.flags, FLAGS),
        shown=random_sheet(inspected.records.images, seed=seed),
        sheets=_flag_sheets(inspected, seed=seed),
    )
    write_file(path, page.encode())


def _flag_sheets(inspected: Inspected, *, seed: int) -> Mapping[Flag, Sheet] | None:
    """A sheet for each flag; None while an ingest holds the journal that knows which radiographs have it."""
    try:
        flags = flags_of_records(inspected.site, inspected.records)
    except CacheBusy:
        return None
    return flag_sheets(inspected.records.images, flags, seed=seed)


def _by_count(
    counts: Mapping[Code, int], advice: Mapping[Code, Advice]
) -> list[tuple[Code, int, Advice]]:
    """What occurred with its advice, most frequent first."""
    found = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0].value))
    return [(code, count, advice[code]) for code, count in found]
