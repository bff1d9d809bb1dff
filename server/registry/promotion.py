"""Which model is in use: a record that can only grow, and a link that follows it.

A promotion puts a model into use, a rollback takes the last one out again, so that the one before it is in use. Nothing
is forgotten: the record is a chain like a hospital's ledger. ``registry/current`` in the state folder leads to the
folder of the model in use; it is replaced in one step, and mended from the record if a process died in between.
"""

import getpass
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from federation.files import make_private_folder, sync_folder
from federation.lineage import verify_model
from privacy.ledger.chain import Record, read_chain
from privacy.ledger.chain_writer import open_chain
from server.enrolment.authority import study_authority
from server.registry.models import Registered, model_named, registered_models

REGISTRY, RECORD, CURRENT = "registry", "promotions.jsonl", "current"
PATIENCE_SECONDS = 10.0
PROMOTE, ROLLBACK = "promote", "rollback"


class NothingBefore(RuntimeError):
    """No model was in use before."""

    def __init__(self) -> None:
        super().__init__(
            "there is no earlier model to go back to: `fedcxr coordinator models` lists all, and `fedcxr coordinator "
            "promote` puts one into use"
        )


class RegistryUnreadable(RuntimeError):
    """A sound chain whose records are not those of a registry of this release."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} means nothing to this program: the operator installs the release that wrote it"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One promotion or rollback."""

    action: str
    digest: str
    """Of the weights that are in use after it."""
    actor: str
    seconds: int


def history(state_path: Path) -> tuple[Step, ...]:
    """Every promotion and rollback, oldest first.

    Raises:
        ChainDamaged: the record is not as it was written.
        RegistryUnreadable: another release wrote it.
    """
    path = _record_path(state_path)
    return _steps(path, read_chain(path).records) if path.exists() else ()


def in_use(steps: Iterable[Step]) -> tuple[str, ...]:
    """Digests of the models that a rollback can still reach, oldest first; the last one is in use."""
    stack: list[str] = []
    for step in steps:
        if step.action == PROMOTE:
            stack.append(step.digest)
        else:
            stack.pop()
    return tuple(stack)


def promote(state_path: Path, model: Registered) -> bool:
    """Put a model into use, if all of it is as this coordinator's authority signed it.

    Returns:
        Whether another one, or none, was in use before.

    Raises:
        ModelNotVouchedFor: somebody changed the folder.
        ChainDamaged, ChainInUse, RegistryUnreadable: the record cannot be used.
    """
    _check(state_path, model)
    path = _record_path(state_path)
    with open_chain(path, patience_seconds=PATIENCE_SECONDS) as writer:
        reachable = in_use(_steps(path, writer.chain.records))
        is_new = reachable[-1:] != (model.digest,)
        if is_new:
            writer.append(_record(PROMOTE, model.digest))
        _link(state_path, model)
    return is_new


def roll_back(state_path: Path) -> Registered:
    """Put the model into use again that was so before the last promotion.

    Raises:
        NothingBefore: there was none.
        UnknownModel: it is not there any more.
        ModelNotVouchedFor: somebody changed its folder.
        ChainDamaged, ChainInUse, RegistryUnreadable: the record cannot be used.
    """
    path = _record_path(state_path)
    with open_chain(path, patience_seconds=PATIENCE_SECONDS) as writer:
        reachable = in_use(_steps(path, writer.chain.records))
        if len(reachable) < 2:
            raise NothingBefore
        model = model_named(state_path, reachable[-2])
        _check(state_path, model)
        writer.append(_record(ROLLBACK, model.digest))
        _link(state_path, model)
    return model


def current_model(state_path: Path) -> Registered | None:
    """The model in use; None if there is none, or if its folder is gone."""
    reachable = in_use(history(state_path))
    models = {each.digest: each for each in registered_models(state_path)}
    return models.get(reachable[-1]) if reachable else None


def current_path(state_path: Path) -> Path:
    """The link to the model in use."""
    return state_path / REGISTRY / CURRENT


def _check(state_path: Path, model: Registered) -> None:
    verify_model(model.folder, study_authority(state_path).public)


def _link(state_path: Path, model: Registered) -> None:
    """Have the link lead to a model's folder, also after the state folder was moved as a whole."""
    link = current_path(state_path)
    draft = make_private_folder(link.parent) / f".{CURRENT}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(model.folder, link.parent), target_is_directory=True)
    draft.replace(link)
    sync_folder(link.parent)


def _record_path(state_path: Path) -> Path:
    return state_path / REGISTRY / RECORD


def _record(action: str, digest: str) -> Record:
    return {
        "action": action,
        "digest": digest,
        "actor": getpass.getuser(),
        "time": int(time.time()),
    }


def _steps(path: Path, records: Iterable[Record]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for record in records:
        action, digest = record.get("action"), record.get("digest")
        actor, seconds = record.get("actor"), record.get("time")
        if not (isinstance(digest, str) and isinstance(actor, str) and isinstance(seconds, int)):
            raise RegistryUnreadable(path)
        if action not in {PROMOTE, ROLLBACK}:
            raise RegistryUnreadable(path)
        steps.append(Step(action=str(action), digest=digest, actor=actor, seconds=seconds))
    return tuple(steps)
