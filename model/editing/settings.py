"""The ways to edit, one set of numbers each; which of them is given decides how an edit walks."""

from dataclasses import dataclass
from typing import Literal, get_args

from model.guidance import NO_GUIDANCE, Guidance

Reference = Literal["source", "unset", "nothing"]
"""What a push moves away from: what is known of the source (contrast), the target without the edited
attributes (attribute-local), or the condition of which nothing is known (the usual guidance)."""

CONTRAST = Guidance(scale=1.5, interval=(0.0, 1.0))
STRONG = Guidance(scale=2.0, interval=(0.0, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowEdit:
    """Carry the difference of two velocities over to the picture, without inverting anything.

    (Kulikov et al. 2025, https://arxiv.org/abs/2412.08629.)
    """

    num_steps: int = 30
    """Steps from noise to picture; three network calls in each that is walked, and per noise."""

    guidance: Guidance = CONTRAST
    """Push of the target's velocity; the source's has none."""

    away_from: Reference = "source"

    local_share: float = 0.9
    """Share of the steps that is walked, the last ones, when only findings change: what is noisier
    would move the whole chest."""

    global_share: float = 1.0
    """The same when age, sex, view or another attribute of the whole picture changes."""

    num_noises: int = 1
    """Noises over which the difference is averaged in every step."""

    faint: float = 0.25
    """Strength, as a share of the strongest in the picture, at which a change is halved: what is
    fainter is the network's inaccuracy more often than part of the edit. 0 keeps everything."""

    def __post_init__(self) -> None:
        _require_steps(self.num_steps)
        _require_share("local_share", self.local_share)
        _require_share("global_share", self.global_share)
        _require_share("faint", self.faint)
        if self.num_noises < 1:
            raise ValueError(f"num_noises is {self.num_noises}, it must be at least 1")
        if self.away_from not in get_args(Reference):
            raise ValueError(f"away_from must be one of {', '.join(get_args(Reference))}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inversion:
    """Walk from the picture into noise as the source, and back as the target."""

    num_steps: int = 30
    """Steps of a whole walk; as many network calls each way, twice as many with order 2."""

    share: float = 0.8
    """Share of the steps that is walked, the last ones."""

    order: Literal[1, 2] = 2
    """1 is Euler's rule, 2 the midpoint rule, which is RF-Solver's second order (Wang et al. 2024,
    https://arxiv.org/abs/2411.04746)."""

    guidance: Guidance = NO_GUIDANCE
    """Push of the way back, away from the condition of which nothing is known."""

    def __post_init__(self) -> None:
        _require_steps(self.num_steps)
        _require_share("share", self.share)
        if self.order not in {1, 2}:
            raise ValueError(f"order is {self.order}, it must be 1 or 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class RFInversion:
    """Walk into given noise and back, both times pulled towards where it shall end.

    (Rout et al. 2024, https://arxiv.org/abs/2410.10792.)
    """

    num_steps: int = 30
    pull_to_noise: float = 0.5
    """0 follows the flow, 1 walks straight into the noise."""

    pull_to_source: float = 0.9
    """0 follows the target, 1 walks straight back to the source."""

    pulled_share: float = 0.25
    """Share of the way back, from its beginning, that is pulled."""

    guidance: Guidance = NO_GUIDANCE
    """Push of the way back, away from the condition of which nothing is known."""

    def __post_init__(self) -> None:
        _require_steps(self.num_steps)
        for name in ("pull_to_noise", "pull_to_source", "pulled_share"):
            _require_share(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class SDEdit:
    """Add noise and remove it as the target.

    (Meng et al. 2022, https://arxiv.org/abs/2108.01073.)
    """

    num_steps: int = 30
    """Steps of a whole walk; one network call each, two where the guidance acts."""

    share: float = 0.6
    """Share of the steps that is walked, the last ones; more changes more."""

    guidance: Guidance = STRONG
    """Push away from the condition of which nothing is known."""

    def __post_init__(self) -> None:
        _require_steps(self.num_steps)
        _require_share("share", self.share)


def _require_steps(num_steps: int) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}, it must be at least 1")


def _require_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}, it must lie in 0 to 1")


EditSettings = FlowEdit | Inversion | RFInversion | SDEdit

USUAL_EDIT = FlowEdit()
