"""Models with their origin signed, and the registry that puts them into use: what was changed is found, what was in use comes back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.config import StudyConfig, study_digest
from federation.lineage import (
    LINEAGE_NAME,
    ModelNotVouchedFor,
    SignedLineage,
    read_lineage,
    signed_bytes,
    verify_model,
    write_lineage,
)
from federation.privacy_terms import PrivacyTerms
from federation.signing import make_signing_key, public_pem
from federation.stages import FullStage, LocalTraining
from model.arrays import Arrays, digest_arrays
from model.folder import WEIGHTS_NAME, open_weights
from model.tensor_file import copy_tensors
from server.enrolment.authority import study_authority
from server.export import export_models
from server.plans.issuing import signed_plan
from server.records import Part, Reached
from server.registry.card import card_facts, render_card
from server.registry.models import UnknownModel, model_named, registered_models
from server.registry.promotion import (
    NothingBefore,
    current_model,
    current_path,
    history,
    promote,
    roll_back,
)
from server.round_files import state_path
from server.store import StudyStore

Typed = tuple[int, str, str]
TERMS = PrivacyTerms(noise_multiplier=1.1, sample_rate=0.01, max_grad_norm=0.5)
LOCAL = LocalTraining(local_steps=4, batch_size=1, learning_rate=1.0, privacy=TERMS)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)


def finish(folder: Path, study: StudyConfig, weights: Arrays) -> StudyStore:
    """A study of two rounds that left a model: north is in both, east in the second; west was refused."""
    store = StudyStore.create(folder, study)
    signed_plan(store)
    for number, sites in ((1, ["north"]), (2, ["east", "north"])):
        parts = [Part(number=number, site=site, attempt=1, state="admitted") for site in sites]
        west = Part(number=number, site="west", attempt=1, state="refused", code="norm")
        for part in (*parts, west):
            store.record(part)
        opened = store.open_round(number)
        digest = copy_tensors(state_path(opened, "weights"), weights)
        reached = Reached(number=number, digests={"weights": digest}, base_digest="")
        store.commit(reached, parts, seconds=1.0)
    export_models(store, store.load_round(2))
    return store


@pytest.fixture
def coordinator(
    study_of: Callable[..., StudyConfig], memory_path: Path, random_weights: Arrays
) -> Path:
    """The state of a coordinator with two finished studies."""
    finish(memory_path, study_of(FULL, seed=1), random_weights)
    second = {name: value + np.float32(0.5) for name, value in random_weights.items()}
    finish(memory_path, study_of(FULL, seed=2), second)
    return memory_path


@pytest.fixture
def folder(coordinator: Path) -> Path:
    """Of the first model."""
    return registered_models(coordinator)[0].folder


def test_a_model_says_which_hospitals_made_it_in_which_rounds_under_which_plan(
    coordinator: Path, folder: Path
) -> None:
    lineage = verify_model(folder, study_authority(coordinator).public).lineage
    store = registered_models(coordinator)[0].store
    assert [(each.number, each.sites) for each in lineage.rounds] == [
        (1, ("north",)),
        (2, ("east", "north")),
    ]
    assert lineage.study_digest == study_digest(store.study)
    assert lineage.plan_digest == signed_plan(store).digest
    assert [each.digest for each in lineage.rounds] == [each.digest for each in store.rounds()]


def spoil_weights(folder: Path) -> None:
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def plant(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def rewrite_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"east"', '"west"'))


def rewrite_lineage(folder: Path) -> None:
    path = folder / LINEAGE_NAME
    path.write_text(path.read_text().replace('"east"', '"west"'))


def sign_anew(folder: Path) -> None:
    """The whole folder is somebody else's, and well signed by them."""
    lineage = replace(read_lineage(folder).lineage, study_name="mine")
    key = make_signing_key(folder.parent / "mallory.key")
    signature, public = key.sign(signed_bytes(lineage)).hex(), public_pem(key).decode()
    write_lineage(folder, SignedLineage(lineage=lineage, signature=signature, authority=public))


@pytest.mark.parametrize(
    ("fraud", "complaint"),
    [
        (spoil_weights, "is not the file that its manifest describes"),
        (plant, "holds adapter_config.json, which its authority did not sign"),
        (rewrite_manifest, "does not hold manifest.json"),
        (rewrite_lineage, "its authority did not sign"),
        (sign_anew, "another authority"),
        (lambda folder: (folder / LINEAGE_NAME).unlink(), "holds no lineage.json"),
        (lambda folder: (folder / LINEAGE_NAME).write_text("{}"), "cannot be read"),
    ],
    ids=["weights", "planted", "manifest", "lineage", "signed-anew", "missing", "emptied"],
)
def test_a_changed_model_is_not_vouched_for_and_not_promoted(
    coordinator: Path, folder: Path, fraud: Callable[[Path], object], complaint: str
) -> None:
    fraud(folder)
    with pytest.raises((ModelNotVouchedFor, ValueError), match=complaint):
        verify_model(folder, study_authority(coordinator).public)
    with pytest.raises((ModelNotVouchedFor, ValueError), match=complaint):
        promote(coordinator, registered_models(coordinator)[0])
    assert history(coordinator) == ()


def test_a_rollback_brings_the_earlier_model_back(coordinator: Path) -> None:
    first, second = registered_models(coordinator)
    assert promote(coordinator, first)
    assert promote(coordinator, second)
    assert not promote(coordinator, second)
    assert current_path(coordinator).resolve() == second.folder.resolve()
    assert roll_back(coordinator).digest == first.digest
    assert current_path(coordinator).resolve() == first.folder.resolve()
    current = current_model(coordinator)
    assert current is not None
    assert current.digest == first.digest
    with pytest.raises(NothingBefore):
        roll_back(coordinator)
    assert [step.action for step in history(coordinator)] == ["promote", "promote", "rollback"]


def test_a_promotion_that_was_cut_off_before_its_link_is_mended_by_the_next(
    coordinator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = registered_models(coordinator)
    promote(coordinator, first)
    with monkeypatch.context() as patch:
        patch.setattr("server.registry.promotion._link", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            promote(coordinator, second)
    current = current_model(coordinator)
    assert current is not None
    assert current.digest == second.digest
    assert not promote(coordinator, second)
    assert current_path(coordinator).resolve() == second.folder.resolve()


def test_a_model_is_named_by_the_beginning_of_its_digest(coordinator: Path) -> None:
    first, second = registered_models(coordinator)
    assert model_named(coordinator, first.digest[:8]).folder == first.folder
    for name in ("", first.digest[:2], "toy"):
        with pytest.raises(UnknownModel, match=second.name):
            model_named(coordinator, name)


def test_a_card_tells_the_record_and_shows_no_markup_of_others(coordinator: Path) -> None:
    facts = card_facts(registered_models(coordinator)[0])
    sly = replace(facts, data_use="<script>alert(1)</script>")
    markdown, page = render_card(facts, "card.md"), render_card(sly, "card.html")
    for card in (markdown, page):
        assert digest_arrays(open_weights(facts.model.folder)[0]) in card
        assert facts.signed.lineage.plan_digest in card
        assert "noise multiplier 1.1, sample rate 0.01, clipped to 0.5" in card
        assert "round 2, west: norm" in card
    assert "| east | 1 of 2 |\n| north | 2 of 2 |\n" in markdown
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_commands_list_promote_and_go_back(
    fedcxr: Callable[..., Typed], coordinator: Path, folder: Path
) -> None:
    first, second = registered_models(coordinator)
    where = ("--state", coordinator)
    code, out, _ = fedcxr("coordinator", "promote", first.name, *where)
    assert (code, f"{first.name} is in use now" in out) == (0, True)
    assert fedcxr("coordinator", "promote", second.name, *where)[0] == 0
    listed = json.loads(fedcxr("coordinator", "models", *where, "--json")[1])["models"]
    assert [(each["digest"], each["current"]) for each in listed] == [
        (first.digest, False),
        (second.digest, True),
    ]
    assert fedcxr("coordinator", "rollback", *where)[0] == 0
    assert fedcxr("coordinator", "rollback", *where)[0] == 2
    code, out, _ = fedcxr("coordinator", "card", first.name, *where, "--json")
    assert {path.name for path in Path(json.loads(out)["card"]).iterdir()} == {
        "card.md",
        "card.html",
    }
    key = study_authority(coordinator).public_path
    code, out, _ = fedcxr("model", "verify", folder, "--authority", key)
    assert code == 0
    assert "signed by the authority you named" in out
    assert "north: in 2 rounds" in out


def test_a_model_that_was_changed_is_refused_by_the_command(
    refused: Callable[..., str], coordinator: Path, folder: Path
) -> None:
    plant(folder)
    assert "do not use this model" in refused("model", "verify", folder)
    assert "holds no public key" in refused(
        "model", "verify", folder, "--authority", coordinator / "nothing"
    )
