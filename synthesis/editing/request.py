"""What was typed after `fedcxr edit`, as an order."""

from dataclasses import dataclass
from pathlib import Path

from model.generate import Generator
from synthesis.editing.consequences import NO_CONSEQUENCES, Consequences, consequences_of
from synthesis.editing.methods import MethodName, settings_of
from synthesis.editing.order import Order
from synthesis.editing.place import mask_of
from synthesis.editing.source import Source, read_source
from synthesis.editing.wanted import Wanted, wanted
from synthesis.generation.wish import Value, assignments


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The command line; None for what was not given."""

    file: Path
    asked: list[str]
    """Each ``NAME=VALUE``."""
    known: list[str]
    """Each ``NAME=VALUE``; stands above what the file tells."""
    free: list[str]
    population: Path | None
    mask: Path | None
    box: str | None
    method: MethodName
    guidance: float | None
    steps: int | None
    seed: int


def order_of(request: Request, generator: Generator) -> Order:
    """The order, ready to be carried out.

    Raises:
        ValueError: of many kinds, each with a sentence for whoever typed it.
    """
    site_numbers = generator.manifest.site_numbers
    source = read_source(request.file, generator.image_size, generator.schema, site_numbers)
    return Order(
        generator=generator,
        source=source,
        wanted=_wanted(request, generator, source),
        method=request.method,
        settings=settings_of(request.method, steps=request.steps, guidance=request.guidance),
        mask=mask_of(request.mask, request.box, generator.image_size),
        seed=request.seed,
    )


def _wanted(request: Request, generator: Generator, source: Source) -> Wanted:
    schema, sites = generator.schema, generator.manifest.site_numbers
    asked = assignments(request.asked, schema, sites)
    known = source.known | assignments(request.known, schema, sites)
    follows = _follows(request, generator, known, asked)
    return wanted(known, asked, request.free, schema, follows)


def _follows(
    request: Request, generator: Generator, known: dict[str, Value], asked: dict[str, Value]
) -> Consequences:
    if request.population is None:
        return NO_CONSEQUENCES
    return consequences_of(
        request.population,
        known,
        asked,
        generator.schema,
        generator.manifest.site_numbers,
        seed=request.seed,
    )
