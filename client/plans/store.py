"""The plans that arrived at this hospital and who approved which, each a small file under its digest.

An approval is in force as long as its file is there. Approving a plan takes back what was approved of earlier plans of
the same study, and a withdrawal takes back everything, so that no old plan ever counts again by itself.
"""

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from federation.files import hold_lock, write_file
from federation.plan import SHOWN_DIGITS, Plan, SignedPlan, UnusablePlan, parse_plan

FOLDER = "plans"
PLAN, APPROVAL, FROZEN = ".plan", ".approval", ".frozen"
MAX_PENDING = 50
"""Studies whose plans may wait for a person at a time; older ones are forgotten, and come again if they are meant."""
PATIENCE_SECONDS = 30.0


class NoSuchPlan(LookupError):
    """A digest that names no plan here, or more than one."""

    def __init__(self, digest: str, *, num_found: int) -> None:
        kind = "no plan" if num_found == 0 else f"{num_found} plans"
        super().__init__(
            f"{digest} names {kind} of this hospital (at least {SHOWN_DIGITS} digits are needed): "
            "`fedcxr hospital plans` lists those that arrived"
        )


class NothingArrived(LookupError):
    """A hospital that no plan was sent to."""

    def __init__(self) -> None:
        super().__init__(
            "no plan has arrived here yet: start the hospital with `fedcxr hospital up`, and ask the coordinator's operator "
            "to type `fedcxr coordinator run`"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """That a person agreed to a plan."""

    digest: str
    """Of the plan."""
    study_digest: str
    issued: int
    """When the plan was signed, in seconds since 1970, UTC."""
    name: str
    """Who agreed."""
    seconds: int
    """When, in seconds since 1970, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPlan:
    """A plan that arrived; its signature was checked then."""

    signed: SignedPlan
    plan: Plan
    arrived: int
    """Seconds since 1970, UTC."""
    approval: Approval | None
    """None: it waits for a person, or was never wanted."""

    @property
    def digest(self) -> str:
        """What is approved."""
        return self.signed.digest


def keep_plan(state_path: Path, signed: SignedPlan, plan: Plan) -> bool:
    """Keep a plan for a person to look at; of each study, the last one waits. Returns whether it is new here."""
    path = _folder(state_path) / f"{signed.digest}{PLAN}"
    if path.exists():
        return False
    content = {
        "plan": signed.text,
        "signature": signed.signature.hex(),
        "arrived": int(time.time()),
    }
    with _lock(state_path):
        write_file(path, json.dumps(content).encode())
        _forget_overtaken(state_path, signed.digest, plan.study_digest)
    return True


def kept_plans(state_path: Path) -> list[KeptPlan]:
    """Every plan that is kept and that this release can read, the last to arrive first."""
    found = [_read(path) for path in _folder(state_path).glob(f"*{PLAN}")]
    readable = [kept for kept in found if kept is not None]
    return sorted(readable, key=lambda kept: (kept.arrived, kept.plan.issued), reverse=True)


def find_plan(state_path: Path, digest: str) -> KeptPlan:
    """The plan that a person means by its digest, or by the beginning of it.

    Raises:
        NoSuchPlan: there is none, or more than one, or too few digits were given.
    """
    found = [kept for kept in kept_plans(state_path) if kept.digest.startswith(digest)]
    if len(digest) < SHOWN_DIGITS or len(found) != 1:
        raise NoSuchPlan(digest, num_found=len(found) if len(digest) >= SHOWN_DIGITS else 0)
    return found[0]


def plan_to_review(state_path: Path) -> KeptPlan:
    """The plan that waits for a person, the last to arrive; without one, the last that was approved.

    Raises:
        NothingArrived: there is no plan here.
    """
    kept = kept_plans(state_path)
    waiting = [each for each in kept if each.approval is None and not _is_overtaken(each, kept)]
    if not kept:
        raise NothingArrived
    return next(iter([*waiting, *(each for each in kept if each.approval), *kept]))


def put_approval(state_path: Path, kept: KeptPlan, name: str) -> Approval:
    """Write down that a person agreed; other plans of the study count no more."""
    approval = Approval(
        digest=kept.digest,
        study_digest=kept.plan.study_digest,
        issued=kept.plan.issued,
        name=name,
        seconds=int(time.time()),
    )
    path = _folder(state_path) / f"{kept.digest}{APPROVAL}"
    with _lock(state_path):
        take_back(state_path, kept.plan.study_digest)
        write_file(path, json.dumps(asdict(approval)).encode())
    return approval


def take_back(state_path: Path, study_digest: str | None = None) -> tuple[Approval, ...]:
    """Withdraw what was approved of one study, or of all; the approvals that were in force."""
    gone = [each for each in approvals(state_path) if study_digest in {None, each.study_digest}]
    for each in gone:
        (_folder(state_path) / f"{each.digest}{APPROVAL}").unlink(missing_ok=True)
    return tuple(gone)


def approvals(state_path: Path) -> list[Approval]:
    """Everything that is approved now."""
    found = map(_content, sorted(_folder(state_path).glob(f"*{APPROVAL}")))
    return [Approval(**content) for content in found if content is not None]


def approval_of_study(state_path: Path, study_digest: str) -> Approval | None:
    """What is approved of a study; None if nothing is."""
    found = (each for each in approvals(state_path) if each.study_digest == study_digest)
    return max(found, key=lambda each: each.issued, default=None)


def first_frozen(state_path: Path, plan_digest: str, stage: int, model_digest: str) -> str:
    """Digest of the frozen model that came first for a stage under a plan; this one, if none came before."""
    path = _folder(state_path) / f"{plan_digest}{FROZEN}"
    with _lock(state_path):
        known = _content(path) or {}
        if str(stage) not in known:
            known[str(stage)] = model_digest
            write_file(path, json.dumps(known).encode())
    return str(known[str(stage)])


def _folder(state_path: Path) -> Path:
    return state_path / FOLDER


def _lock(state_path: Path) -> AbstractContextManager[None]:
    return hold_lock(_folder(state_path) / "lock", patience_seconds=PATIENCE_SECONDS)


def _content(path: Path) -> dict[str, Any] | None:
    """What a file says; None if it went away meanwhile."""
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def _read(path: Path) -> KeptPlan | None:
    """A plan's file; None if it went away, or another release wrote it."""
    content, approved = _content(path), _content(path.with_suffix(APPROVAL))
    if content is None:
        return None
    signed = SignedPlan(text=content["plan"], signature=bytes.fromhex(content["signature"]))
    try:
        plan = parse_plan(signed.text)
    except UnusablePlan:
        return None
    return KeptPlan(
        signed=signed,
        plan=plan,
        arrived=content["arrived"],
        approval=None if approved is None else Approval(**approved),
    )


def _is_overtaken(kept: KeptPlan, others: list[KeptPlan]) -> bool:
    """Whether a later plan of the study was approved."""
    return any(
        other.approval is not None
        and other.plan.study_digest == kept.plan.study_digest
        and other.plan.issued > kept.plan.issued
        for other in others
    )


def _forget_overtaken(state_path: Path, digest: str, study_digest: str) -> None:
    """Of plans that nobody approved, leave one a study and not too many."""
    for kept in _overtaken(kept_plans(state_path), digest, study_digest):
        (_folder(state_path) / f"{kept.digest}{PLAN}").unlink(missing_ok=True)


def _overtaken(kept: list[KeptPlan], digest: str, study_digest: str) -> Iterator[KeptPlan]:
    waiting = [each for each in kept if each.approval is None and each.digest != digest]
    same = [each for each in waiting if each.plan.study_digest == study_digest]
    yield from same
    yield from [each for each in waiting if each not in same][MAX_PENDING - 1 :]
