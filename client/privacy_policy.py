"""The hospital's own bounds on training: whatever a coordinator asks for is held against this file first.

The study says how private training is; this file says how private it has to be. It stays in the hospital, and the
coordinator cannot change a word of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from federation.field_types import Positive, Share, SiteName
from federation.planning.spending import charged_phase
from federation.privacy_terms import AboveZero, PrivacyTerms
from federation.stages import FullStage, LoraStage
from federation.strict_yaml import STRICT, load_config
from privacy.ledger.chain_writer import PATIENCE_SECONDS
from privacy.ledger.ledger import Ledger, open_ledger

USABLE_SCALES = (1e-6, 1e6)
"""Of clipped norms and losses: far outside it, noise in single precision loses its shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyPolicy:
    """What this hospital lets happen to one data set, over its whole life."""

    __pydantic_config__: ClassVar = STRICT

    data_set: SiteName
    """Names the patients whose privacy is spent; every study on any of them shares one ledger."""
    max_epsilon: AboveZero
    """Epsilon that everything ever released of them together must not pass (the cap). It can only be lowered."""
    delta: AboveZero
    """Delta of that promise; below 1 / number of patients, better a tenth of it. It never changes."""
    min_noise_multiplier: AboveZero
    """A study with less noise is refused, also where a noised loss leaves beside the update."""
    max_sample_rate: Share
    """A study that draws patients more often is refused."""
    max_local_steps: Positive
    """A study with more steps in a round is refused."""
    max_rounds: Positive | None = None
    """A study with more rounds in a stage is refused; None: the cap alone limits them."""
    max_images: Positive = 1
    """A study that uses more radiographs of a patient in a step is refused."""
    only_private: bool = True
    """Whether training without differential privacy is refused."""
    noised_loss: bool = False
    """Whether a loss may leave, noised and charged."""
    kinds: tuple[Literal["full", "lora"], ...] = ("lora",)
    """Stages that may train."""
    targets: tuple[str, ...] = ("qkv", "proj", "w12", "w3")
    """Linear layers that may get an adapter."""
    bases: tuple[str, ...] | None = None
    """Digests of the frozen models that may be adapted; None: any."""
    ledger_path: Path = Path("privacy.ledger")
    """The data set's ledger. Keep it for as long as the data set, also when everything else is set up anew."""

    def __post_init__(self) -> None:
        if self.delta >= 1:
            raise ValueError(f"delta {self.delta:g} must be below 1")
        if not self.max_sample_rate:
            raise ValueError("max_sample_rate must be above 0")


def load_policy(path: Path) -> PrivacyPolicy:
    """Read and check a privacy policy; the ledger's path is relative to the file.

    Raises:
        ConfigError: naming the file, every offending key, and what it should be.
    """
    policy = load_config(path, PrivacyPolicy)
    return replace(policy, ledger_path=path.resolve().parent / policy.ledger_path)


def ledger_of(
    policy: PrivacyPolicy, *, patience_seconds: float = PATIENCE_SECONDS
) -> AbstractContextManager[Ledger]:
    """The data set's ledger, open for this process alone, under the lower of its own cap and the policy's."""
    return open_ledger(
        policy.ledger_path,
        data_set=policy.data_set,
        delta=policy.delta,
        cap=policy.max_epsilon,
        patience_seconds=patience_seconds,
    )


def why_refused(
    policy: PrivacyPolicy,
    stage: FullStage | LoraStage,
    terms: PrivacyTerms | None,
    *,
    base_digest: str = "",
) -> str | None:
    """The first reason why this hospital does not train what a study asks for; None: there is none.

    Args:
        policy: The hospital's.
        stage: What the study asks for.
        terms: How private the stage is; None: not at all.
        base_digest: Of the frozen model under an adapter.
    """
    problems = [*_of_stage(policy, stage, base_digest), *_of_terms(policy, terms)]
    if not problems:
        return None
    return f"the hospital's privacy policy {problems[0]}: its data-protection officer decides"


def why_delta_refused(policy: PrivacyPolicy, num_patients: int) -> str | None:
    """Why the policy's delta promises nothing for so many patients, without saying how many; None: it does."""
    if policy.delta * num_patients < 1:
        return None
    return (
        "the hospital's privacy policy has a delta that is too large for its number of patients: its data-protection "
        "officer sets one below 1 / (10 x patients)"
    )


def _of_stage(
    policy: PrivacyPolicy, stage: FullStage | LoraStage, base_digest: str
) -> Iterator[str]:
    if stage.kind not in policy.kinds:
        yield f"does not allow stages of kind {stage.kind}"
    if stage.local.local_steps > policy.max_local_steps:
        yield _above("local_steps", stage.local.local_steps, policy.max_local_steps)
    if policy.max_rounds is not None and stage.num_rounds > policy.max_rounds:
        yield _above("num_rounds", stage.num_rounds, policy.max_rounds)
    if isinstance(stage, LoraStage):
        yield from _of_adapter(policy, stage, base_digest)


def _of_adapter(policy: PrivacyPolicy, stage: LoraStage, base_digest: str) -> Iterator[str]:
    others = sorted(set(stage.targets) - set(policy.targets))
    if others:
        yield f"does not allow adapters on {', '.join(others)}"
    if policy.bases is not None and base_digest not in policy.bases:
        yield f"does not name the frozen model {base_digest[:12]} among those that may be adapted"


def _of_terms(policy: PrivacyPolicy, terms: PrivacyTerms | None) -> Iterator[str]:
    if terms is None:
        if policy.only_private:
            yield "does not allow training without differential privacy"
        return
    noise = charged_phase(terms, 1).noise_multiplier
    if noise < policy.min_noise_multiplier:
        yield f"asks for a noise multiplier of {policy.min_noise_multiplier:g}, the study's is {noise:g}"
    if terms.sample_rate > policy.max_sample_rate:
        yield _above("sample_rate", terms.sample_rate, policy.max_sample_rate)
    if terms.max_images > policy.max_images:
        yield _above("max_images", terms.max_images, policy.max_images)
    if terms.loss_noise_multiplier is not None and not policy.noised_loss:
        yield "does not let a loss leave, not even a noised one"
    yield from _of_scales(terms)


def _of_scales(terms: PrivacyTerms) -> Iterator[str]:
    low, high = USABLE_SCALES
    for name, value in (("max_grad_norm", terms.max_grad_norm), ("max_loss", terms.max_loss)):
        if not low <= value <= high:
            yield f"allows {name} from {low:g} to {high:g}, the study asks for {value:g}"


def _above(name: str, asked: float, allowed: float) -> str:
    return f"allows {name} up to {allowed:g}, the study asks for {asked:g}"
