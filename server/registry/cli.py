"""The commands for the models that this coordinator has made: list them, put one into use, go back, write its card."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.terminal import emit
from server.arguments import Json, State

if TYPE_CHECKING:
    from server.registry.models import Registered

app = typer.Typer()

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="The beginning of its digest, as `models` shows it.")
]


@app.command()
def models(state: State, as_json: Json = False) -> None:
    """List every finished model, and which one is in use."""
    from server.registry.models import registered_models
    from server.registry.promotion import current_path, history, in_use
    from server.survey import damaged_studies

    folder = _state_folder(state)
    damaged = damaged_studies(folder)
    steps, found = history(folder), registered_models(folder)
    reachable = in_use(steps)
    current = reachable[-1] if reachable else ""
    lines = [_line(each, current, reachable) for each in found]
    facts = {
        "models": [_facts(each) | {"current": each.digest == current} for each in found],
        "current": str(current_path(folder)) if current else None,
        "history": [
            {
                "action": step.action,
                "digest": step.digest,
                "actor": step.actor,
                "time": step.seconds,
            }
            for step in steps
        ],
        "damaged": {each.folder.name: str(each) for each in damaged},
    }
    lines = [*(lines or ["no study is finished yet"]), *map(str, damaged)]
    emit(facts, "\n".join(lines), as_json=as_json)


@app.command()
def promote(model: Model, state: State, as_json: Json = False) -> None:
    """Put a model into use, once every byte of it is known to be what the study authority signed; write its card."""
    from server.registry.card import write_card
    from server.registry.models import model_named
    from server.registry.promotion import current_path
    from server.registry.promotion import promote as put_into_use

    folder = _state_folder(state)
    chosen = model_named(folder, model)
    is_new = put_into_use(folder, chosen)
    card = write_card(folder, chosen)
    word = "is in use now" if is_new else "was in use already"
    text = f"{chosen.name} {word}: {current_path(folder)}\ncard: {card}"
    emit(_facts(chosen) | {"promoted": is_new, "card": str(card)}, text, as_json=as_json)


@app.command()
def rollback(state: State, as_json: Json = False) -> None:
    """Put the model into use again that was so before the last promotion."""
    from server.registry.promotion import current_path, roll_back

    folder = _state_folder(state)
    chosen = roll_back(folder)
    emit(
        _facts(chosen),
        f"{chosen.name} is in use again: {current_path(folder)}",
        as_json=as_json,
    )


@app.command()
def card(model: Model, state: State, as_json: Json = False) -> None:
    """Write a model's card from the record, as Markdown and as a page."""
    from server.registry.card import write_card
    from server.registry.models import model_named

    folder = _state_folder(state)
    written = write_card(folder, model_named(folder, model))
    emit({"card": str(written)}, f"card: {written}", as_json=as_json)


def _state_folder(state: Path) -> Path:
    from server.endpoint import CoordinatorNotRunning

    if not state.is_dir():
        raise CoordinatorNotRunning(state)
    return state.resolve()


def _facts(model: "Registered") -> dict[str, object]:
    manifest = model.manifest
    return {
        "digest": model.digest,
        "kind": manifest.kind,
        "study": manifest.study_name,
        "study_digest": manifest.study_digest,
        "rounds": manifest.rounds,
        "sites": list(manifest.sites),
        "parent": manifest.parent_digest,
        "folder": str(model.folder),
    }


def _line(model: "Registered", current: str, reachable: tuple[str, ...]) -> str:
    manifest = model.manifest
    standing = (
        "in use" if model.digest == current else "earlier" if model.digest in reachable else ""
    )
    return (
        f"{model.name}  {standing:8}{manifest.study_name}: {manifest.kind}, {manifest.rounds} rounds, "
        f"{len(manifest.sites)} hospitals  {model.folder}"
    )
