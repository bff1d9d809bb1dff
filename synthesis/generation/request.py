"""What was typed after `fedcxr generate`, as a model, a plan and a way to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.device import best_device
from model.generate import Generator, open_generator, usual_sampling
from model.guidance import Guidance
from model.manifest import Manifest
from model.sampler import Method, Sampling
from synthesis.generation.dataset import Format, Order
from synthesis.generation.plan import plan_of
from synthesis.generation.prompts import Prompts, read_prompts, single_prompt
from synthesis.generation.wish import Wish, assignments


class TwoPrompts(ValueError):
    """Attributes on the command line and a table of prompts."""

    def __init__(self) -> None:
        super().__init__(
            "--prompts and attributes on the command line do not go together: write the attributes into the table"
        )


class WrongWalk(ValueError):
    """Numbers that no sampling can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """How to sample, as far as that was given; the model knows the rest."""

    steps: int | None
    method: Method | None
    guidance: float | None
    interval: tuple[float, float] | None

    def sampling(self, manifest: Manifest) -> Sampling:
        """What was given, and what is usual for the model where nothing was.

        Raises:
            WrongWalk: guidance at noise levels that there are not.
        """
        usual = usual_sampling(manifest)
        scale = usual.guidance.scale if self.guidance is None else self.guidance
        try:
            guidance = Guidance(scale=scale, interval=self.interval or usual.guidance.interval)
        except ValueError as err:
            raise WrongWalk(str(err)) from err
        return Sampling(
            num_steps=self.steps or usual.num_steps,
            guidance=guidance,
            method=self.method or usual.method,
        )


def open_model(model: Path, adapter: Path | None, codec: Path | None) -> Generator:
    """The model on the fastest device that this machine has."""
    return open_generator(model, adapter, codec, device=best_device())


def attributes(
    options: Mapping[str, float | str | None], findings: Sequence[str] | None
) -> list[str]:
    """What was given, each as ``NAME=VALUE``."""
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return [*given, *(findings or ())]


def order_of(
    generator: Generator,
    attributes: Sequence[str],
    prompts_path: Path | None,
    *,
    count: int,
    seed: int,
    walk: Walk,
    form: Format,
) -> Order:
    """Everything that was asked for, checked.

    Args:
        generator: the model.
        attributes: each ``NAME=VALUE``.
        prompts_path: a table of prompts instead.
        count: pictures of every prompt that does not say.
        seed: of every prompt that does not say.
        walk: how to sample.
        form: how pictures are kept.

    Raises:
        TwoPrompts: both attributes and a table.
        UnknownWish, NoAge, NoSites, NoAssignment, WrongPrompts, WrongWalk: what was asked for means nothing.
    """
    return Order(
        generator=generator,
        plan=plan_of(_prompts(generator, attributes, prompts_path, count), seed=seed),
        sampling=walk.sampling(generator.manifest),
        format=form,
    )


def _prompts(
    generator: Generator, attributes: Sequence[str], path: Path | None, count: int
) -> Prompts:
    schema, site_numbers = generator.schema, generator.manifest.site_numbers
    if path is None:
        wish = Wish(values=assignments(attributes, schema, site_numbers))
        return single_prompt(wish, schema, count)
    if attributes:
        raise TwoPrompts
    return read_prompts(path, schema, site_numbers, usual_count=count)
