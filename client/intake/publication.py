"""A stock and labels -> the records of a version, and their tally."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.cache.journal import RECORD, REPORT, Standing
from client.cache.stock import Stock
from client.cache.writer import Contents
from client.curation.near_duplicates import find_near_duplicates
from client.dicom.rejection import Reason
from client.intake.findings import Joined, States, join_findings
from client.intake.opaque import Keys, ReportFacts, num_flagged, report_facts
from client.intake.reading import Offer
from client.intake.selection import Selection, held_out, select_all, without_copies
from client.labels.mapping import KeyKind, LabelMapping
from client.labels.table import LabelProblem, Labels
from client.tally import Tally
from privacy.patient import unknown_patient_key

_COMPARED = "compared"
"""The stock's fact that tells which pictures were compared last, and which of them are to be dropped."""
_COLUMNS = {"patient": "patient_id"}
"""Where a table's identifiers are not in the column of their own name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the hospital's table of labels says, under opaque keys."""

    labels: Labels
    mapping: LabelMapping
    keys: Keys = field(repr=False)

    def by_link(self) -> Mapping[int, States]:
        """Opaque key of an identifier -> what its row says."""
        kind = self.labels.key
        return {self.keys.link(kind, name): row for name, row in self.labels.states.items()}

    def links_of_files(self, offers: Sequence[Offer]) -> dict[bytes, int]:
        """Item -> what joins it to a table that names rows by file; none to any other table."""
        if self.labels.key != "file":
            return {}
        name_of = self.mapping.key.identifier
        return {
            offer.key: self.keys.link("file", name_of(offer.item.name))
            for offer in offers
            if offer.item.labelled_as
        }


def make_contents(
    stock: Stock,
    standing: Sequence[Standing],
    told: Told,
    *,
    offers: Sequence[Offer],
    num_lost: int,
    findings: tuple[str, ...],
) -> Contents:
    """Choose among the records of a stock and join what is known of them.

    Args:
        stock: What was read.
        standing: The items that count.
        told: The labels.
        offers: What the sources have, under the names by which tables may know it.
        num_lost: Items that no source delivered, now or before.
        findings: Columns that labels and reports fill.
    """
    rows, links_of_files = told.by_link(), told.links_of_files(offers)
    named = {key for key, link in links_of_files.items() if link in rows}
    usable, copies = _without_copies(stock, standing, named)
    said = [rows.get(link) for link in _links(usable, told.labels.key, links_of_files)]
    joined = join_findings(usable.table, said, _reports(stock, standing), findings)
    is_held_out = held_out(usable.table, unknown_patient=unknown_patient_key(told.keys.secret))
    return Contents(
        rows=np.concatenate([usable.table["row"], joined.ids], axis=1),
        patients=usable.table["patient"],
        held_out=is_held_out,
        shards=usable.shards,
        places=usable.places,
        findings=findings,
        tally=Tally(
            num_files=len(standing) + num_lost,
            num_usable=len(usable),
            refused=_refused(standing, {**copies, Reason.NOT_FETCHED: num_lost}),
            num_patients=len(np.unique(usable.table["patient"])),
            num_held_out=int(is_held_out.sum()),
            num_labelled=int(joined.labelled.sum()),
            label_problems=_problems(told.labels, joined),
            num_reports=sum(item.outcome == REPORT for item in standing),
            flags=num_flagged(usable.table["flags"]),
        ),
    )


def _without_copies(
    stock: Stock, standing: Sequence[Standing], named: Collection[bytes]
) -> tuple[Selection, dict[Reason, int]]:
    """The records that are used, and how many are not because they show what others show."""
    counted = {item.key for item in standing if item.outcome == RECORD}
    entries = [entry for entry in stock.journal.entries(RECORD) if entry.key in counted]
    everything = select_all(entries, named=named)
    distinct = without_copies(everything)
    usable = distinct.only(np.flatnonzero(~_near_duplicates(stock, distinct)))
    return usable, {
        Reason.DUPLICATE: len(everything) - len(distinct),
        Reason.NEAR_DUPLICATE: len(distinct) - len(usable),
    }


def _near_duplicates(stock: Stock, selection: Selection) -> NDArray[np.bool_]:
    """Which records to drop; for the same pictures as last time, the same without looking at them."""
    names = selection.table[["order", "pixels", "patient"]].tobytes()
    pictures, known = hashlib.sha256(names).hexdigest(), stock.journal.fact(_COMPARED)
    if known.startswith(pictures):
        bits = np.frombuffer(bytes.fromhex(known[len(pictures) :]), np.uint8)
        return np.unpackbits(bits, count=len(selection)).astype(np.bool_)
    images = stock.images(selection.shards, selection.places)
    to_drop = find_near_duplicates(images, selection.table["patient"])
    stock.journal.set_facts({_COMPARED: pictures + np.packbits(to_drop).tobytes().hex()})
    return to_drop


def _reports(stock: Stock, standing: Sequence[Standing]) -> list[ReportFacts]:
    counted = {item.key for item in standing if item.outcome == REPORT}
    entries = stock.journal.entries(REPORT)
    return [report_facts(entry.payload) for entry in entries if entry.key in counted]


def _links(
    selection: Selection, kind: KeyKind, links_of_files: Mapping[bytes, int]
) -> Sequence[int]:
    """What joins each record to the table, 0 for nothing."""
    if kind == "file":
        return [links_of_files.get(key, 0) for key in selection.keys]
    links: list[int] = selection.table[_COLUMNS.get(kind, kind)].tolist()
    return links


def _refused(standing: Sequence[Standing], later: Mapping[Reason, int]) -> dict[Reason, int]:
    """Refusals on reading and on choosing."""
    counts = Counter(item.outcome for item in standing if item.outcome not in {RECORD, REPORT})
    on_reading = {Reason(outcome): count for outcome, count in counts.items()}
    return {**on_reading, **{reason: count for reason, count in later.items() if count}}


def _problems(labels: Labels, joined: Joined) -> dict[LabelProblem, int]:
    conflicts = Counter({LabelProblem.CONFLICT: joined.num_conflicts})
    return dict(+(Counter(labels.problems) + conflicts))
