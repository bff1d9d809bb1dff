"""A model's card, from the record alone: what it is, who made it from what, how training went, and what it is not for.

Model cards are those of Mitchell et al. 2019, https://arxiv.org/abs/1810.03993. Nobody writes anything by hand, so a card
says no more than the coordinator knows; in particular, what a hospital's patients have spent is known to that hospital.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from federation.files import write_file
from federation.lineage import SignedLineage, read_lineage
from federation.plan import parse_plan
from federation.stages import FullStage, LoraStage
from server.plans.issuing import issued_plan
from server.records import Part, RoundRecord
from server.registry.models import Registered
from server.registry.promotion import REGISTRY

MARKDOWN, PAGE = "card.md", "card.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything that a card says."""

    model: Registered
    signed: SignedLineage
    data_use: str
    """What the hospitals agreed to; empty without a plan."""
    stages: tuple[FullStage | LoraStage, ...]
    rounds: tuple[RoundRecord, ...]
    rounds_of: tuple[tuple[str, int], ...]
    """Hospital -> rounds with its change in them."""
    refused: tuple[Part, ...]
    signed_on: str


def card_facts(model: Registered) -> Facts:
    """What the record says of a model.

    Raises:
        ModelNotVouchedFor: its folder holds no lineage.
    """
    store, signed = model.store, read_lineage(model.folder)
    plan, last = issued_plan(store), model.manifest.rounds
    counts = Counter(site for each in signed.lineage.rounds for site in each.sites)
    stages = {store.study.stage_of(each.number)[0] for each in signed.lineage.rounds}
    return Facts(
        model=model,
        signed=signed,
        data_use=parse_plan(plan.text).data_use if plan else "",
        stages=tuple(store.study.stages[index] for index in sorted(stages)),
        rounds=tuple(each for each in store.rounds() if each.number <= last),
        rounds_of=tuple(sorted(counts.items())),
        refused=tuple(
            part for part in store.parts() if part.state == "refused" and part.number <= last
        ),
        signed_on=f"{datetime.fromtimestamp(signed.lineage.seconds, UTC):%Y-%m-%d}",
    )


def render_card(facts: Facts, name: str) -> str:
    """The card as Markdown (`MARKDOWN`) or as a page without scripts (`PAGE`)."""
    environment = Environment(
        loader=PackageLoader("server.registry"),
        autoescape=select_autoescape(default_for_string=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = _number
    return environment.get_template(name).render(
        facts=facts, manifest=facts.model.manifest, lineage=facts.signed.lineage
    )


def write_card(state_path: Path, model: Registered) -> Path:
    """Write both forms of a model's card; gives their folder."""
    facts, folder = card_facts(model), card_folder(state_path, model)
    for name in (MARKDOWN, PAGE):
        write_file(folder / name, render_card(facts, name).encode(), mode=0o644)
    return folder


def card_folder(state_path: Path, model: Registered) -> Path:
    """Where a model's card is."""
    return state_path / REGISTRY / "cards" / model.name


def _number(value: float | None) -> str:
    """A measured number; None where nothing was measured, or where privacy keeps it at the hospitals."""
    return "-" if value is None else f"{value:.4g}"
