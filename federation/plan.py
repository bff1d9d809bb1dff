"""The plan of a study: everything a hospital agrees to, signed by the study authority, in one spelling.

A person at each hospital approves a plan by its digest, so two plans that differ in one letter are two plans.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from federation.config import StudyConfig, study_digest
from federation.field_types import Digest, Whole
from federation.signing import verify
from federation.strict_yaml import STRICT, ConfigError, check_config

NO_BASE = ""
MAX_LETTERS = 1_000_000
"""Of a plan that is read; one has a few thousand."""
SHOWN_DIGITS = 16
"""Hexadecimal digits of a digest that are shown where there is little room, and that name a plan when typed."""


class UnusablePlan(ValueError):
    """A text that is no plan of this release, or not in its one spelling."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the plan cannot be read: {why}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What happens in a study, with what code, for what purpose, and until when."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    study: StudyConfig
    """Model, rounds, steps and privacy terms, as they run."""
    code_digest: Digest
    """Of the program that runs at hospitals (``federation.code_digest``)."""
    base_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    """Of the model that training starts from; empty for fresh weights."""
    data_use: Annotated[str, Field(min_length=1, max_length=2000)]
    """What the radiographs are used for, in words."""
    ends: date
    """Last day on which a round may be asked for, UTC."""
    issued: Whole
    """When it was signed, in seconds since 1970, UTC. The later one of two plans of a study counts."""

    def __post_init__(self) -> None:
        if not self.data_use.isprintable():
            raise ValueError("data_use must be one line of printable letters")

    @property
    def study_digest(self) -> str:
        """Of the study."""
        return study_digest(self.study)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedPlan:
    """A plan as it travels: its text and the study authority's signature on it."""

    text: str
    """Canonical JSON."""
    signature: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex: what is approved."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the holder of this public key (PEM) signed it."""
        return verify(public_key, self.text.encode(), self.signature)


def plan_json(plan: Plan) -> str:
    """One spelling per plan: sorted keys, no spaces, defaults written out."""
    content = {**asdict(plan), "ends": plan.ends.isoformat()}
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def plan_digest(plan: Plan) -> str:
    """SHA-256 of the plan's one spelling, in hex."""
    return hashlib.sha256(plan_json(plan).encode()).hexdigest()


def parse_plan(text: str) -> Plan:
    """Read a plan that travelled.

    Raises:
        UnusablePlan: it is none of this release, or not spelled the one way.
    """
    if len(text) > MAX_LETTERS:
        raise UnusablePlan("it is far too long")
    try:
        plan = check_config("the plan", json.loads(text), Plan)
    except ConfigError as err:
        raise UnusablePlan(str(err)) from err
    except (ValueError, RecursionError) as err:
        raise UnusablePlan("it is not JSON") from err
    if plan_json(plan) != text:
        raise UnusablePlan("it is not in its one spelling")
    return plan
