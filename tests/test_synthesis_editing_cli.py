"""The command that edits, from a radiograph's file to the files that are kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import FileDataset, dcmread

from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from model.arrays import Arrays
from model.folder import save_model
from model.manifest import Manifest
from synthesis.editing.consequences import Consequences

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
SIDE = 16
BRIEF = ("--steps", 2)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Arrays, toy_manifest: Manifest
) -> Path:
    """A model of random weights."""
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, random_weights, toy_manifest)
    distilled = replace(toy_manifest, distilled_steps=2)
    save_model(folder.parent / "distilled", random_weights, distilled)
    return folder


@pytest.fixture
def file(saved: Callable[..., Path], radiograph_of: Callable[..., FileDataset]) -> Path:
    """A phantom's radiograph as a machine writes it: a woman of 60, PA."""
    return saved(radiograph_of(), PatientName="Doe^Jane", PatientID="4711", StudyID="77")


def seen(file: Path) -> NDArray[np.uint16]:
    """The radiograph of a file as the model sees it."""
    outcome = read_file(file, image_size=SIDE, policy=ReadPolicy())
    assert isinstance(outcome, Radiograph)
    return outcome.image


def facts_of(fedcxr: Command, *words: object) -> dict[str, object]:
    code, out, err = fedcxr("edit", *words, *BRIEF, "--json")
    assert (code, err) == (0, "")
    facts: dict[str, object] = json.loads(out)
    return facts


def mask_file(path: Path) -> NDArray[np.bool_]:
    """A mask whose lower right quarter may change; where it may."""
    may_change = np.zeros((SIDE, SIDE), dtype=np.bool_)
    may_change[SIDE // 2 :, SIDE // 2 :] = True
    Image.fromarray(np.where(may_change, 255, 0).astype(np.uint8)).save(path)
    return may_change


def test_the_edit_is_written_with_its_difference_and_says_what_was_done(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o" / "out.dcm"
    words = ("edit", file, "--model", model, "--set", "cardiomegaly=present", "-o", out, *BRIEF)
    code, said, err = fedcxr(*words)
    assert (code, err) == (0, "")
    assert "cardiomegaly absent (assumed; say otherwise with --is) -> present" in said
    assert "kept as known: age, manufacturer, sex, view" in said
    assert "must stay in the hospital" in said
    written = dcmread(out)
    assert written.pixel_array.shape == (SIDE, SIDE)
    assert (written.pixel_array != seen(file)).any()
    with Image.open(out.with_name("out.difference.png")) as picture:
        assert min(picture.size) > 300
        assert np.ptp(np.asarray(picture.convert("RGB"))[..., 0]) > 0


def test_outside_the_mask_the_written_file_holds_every_bit_of_the_radiograph(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    may_change = mask_file(tmp_path / "mask.png")
    words = (file, "--model", model, "--set", "sex=M", "--mask", tmp_path / "mask.png")
    for name in ("out.dcm", "out.png"):
        facts_of(fedcxr, *words, "-o", tmp_path / name)
    pixels = dcmread(tmp_path / "out.dcm").pixel_array
    with Image.open(tmp_path / "out.png") as png:
        assert np.array_equal(np.asarray(png), pixels)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[~may_change], seen(file)[~may_change])
    assert (pixels != seen(file))[may_change].mean() > 0.9


def test_a_box_bounds_the_change_too(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    words = (file, "--model", model, "--set", "age=90", "--box", "0,0,0.5,1")
    facts_of(fedcxr, *words, "-o", tmp_path / "out.dcm")
    changed = dcmread(tmp_path / "out.dcm").pixel_array != seen(file)
    assert changed[:, : SIDE // 2].any()
    assert not changed[:, SIDE // 2 :].any()


def test_the_result_is_nobody_and_says_that_it_was_made(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.dcm"
    facts_of(fedcxr, file, "--model", model, "--set", "edema=present", "-o", out)
    source, written = dcmread(file), dcmread(out)
    assert written.SyntheticData == "YES"
    assert written.ImageType[0] == "DERIVED"
    kept = {
        str(element.value) for element in source if element.VR in {"UI", "PN", "LO", "SH", "DA"}
    }
    kept -= {"CHEST", "US", ""}
    for element in written.iterall():
        if element.VR in {"UI", "PN", "LO", "SH", "DA", "ST", "UT", "LT"}:
            assert str(element.value) not in kept
    assert b"4711" not in out.read_bytes()
    assert b"Doe" not in out.read_bytes()


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    words = (file, "--model", model, "--set", "edema=present", "-o")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        facts_of(fedcxr, *words, tmp_path / f"{name}.dcm", "--seed", seed)
    first, second, third = (tmp_path / f"{name}.dcm" for name in "abc")
    assert first.read_bytes() == second.read_bytes()
    assert (dcmread(first).pixel_array != dcmread(third).pixel_array).any()


def test_facts_tell_how_to_repeat_it(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    facts = facts_of(
        fedcxr,
        *(file, "--model", model, "--set", "view=AP", "--is", "edema=present", "--free", "sex"),
        *("--guidance", 2, "--seed", 3, "--method", "inversion", "-o", tmp_path / "out.dcm"),
    )
    kept = {"age": "60", "manufacturer": "agfa", "edema": "present"}
    assert facts["condition"] == kept | {"view": "AP"}
    assert facts["edits"] == {"view": "AP"}
    assert facts["freed"] == ["sex"]
    assert (facts["seed"], facts["method"], facts["image_size"]) == (3, "inversion", SIDE)


@pytest.mark.parametrize("method", ["flow-edit-cfg", "inversion", "rf-inversion", "sdedit"])
def test_every_method_makes_another_picture_than_the_default(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path, method: str
) -> None:
    words = (file, "--model", model, "--set", "sex=M", "-o")
    facts_of(fedcxr, *words, tmp_path / "a.png")
    facts_of(fedcxr, *words, tmp_path / "b.png", "--method", method)
    with Image.open(tmp_path / "a.png") as usual, Image.open(tmp_path / "b.png") as other:
        assert (np.asarray(usual) != np.asarray(other)).any()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_png_of_the_models_size_is_taken_bit_for_bit(
    fedcxr: Command, model: Path, tmp_path: Path, bits: int
) -> None:
    largest = 2**bits - 1
    grey = np.random.default_rng(0).integers(0, largest, (SIDE, SIDE), endpoint=True)
    Image.fromarray(grey.astype(np.uint8 if bits == 8 else np.uint16)).save(tmp_path / "in.png")
    may_change = mask_file(tmp_path / "mask.png")
    words = (tmp_path / "in.png", "--model", model, "--set", "sex=M", "--is", "sex=F")
    facts_of(fedcxr, *words, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as png:
        after = np.asarray(png)
    assert np.array_equal(after[~may_change], grey[~may_change] * (65535 // largest))


def test_a_second_edit_begins_where_the_first_one_ended(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "1.dcm", tmp_path / "2.dcm"
    mask_file(tmp_path / "mask.png")
    facts_of(fedcxr, file, "--model", model, "--set", "sex=M", "-o", once)
    words = (once, "--model", model, "--set", "edema=present", "--mask", tmp_path / "mask.png")
    facts = facts_of(fedcxr, *words, "-o", twice)
    kept = {"age": "60", "view": "PA", "manufacturer": "agfa", "sex": "M"}
    assert facts["condition"] == kept | {"edema": "present"}
    changed = dcmread(twice).pixel_array != dcmread(once).pixel_array
    assert changed.any()
    assert not changed[: SIDE // 2].any()


def test_a_file_that_holds_no_chest_radiograph_is_refused_in_one_sentence(
    refused: Refused, model: Path, file: Path, saved: Callable[..., Path], tmp_path: Path
) -> None:
    hand = {"BodyPartExamined": "HAND", "AnatomicRegionSequence": [], "StudyDescription": "hand"}
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(file.read_bytes()[:-5000])
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("nothing")
    ask = ("--model", model, "--set", "edema=present", "-o", tmp_path / "out.dcm")
    for path, reason in (
        (saved(dcmread(file), **hand), "not a chest"),
        (broken, "with damaged pixels"),
        (tmp_path / "colour.png", "in colour"),
        (tmp_path / "text.png", "no PNG that can be read"),
        (tmp_path / "none.dcm", "not there"),
    ):
        sentence = f"this file cannot be edited, it is {reason}: give a chest radiograph\n"
        assert refused("edit", path, *ask) == sentence
    assert not (tmp_path / "out.dcm").exists()


def test_what_follows_by_a_label_model_is_edited_too_and_said(
    fedcxr: Command, model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heart = Consequences(before={"cardiomegaly": "absent"}, after={"cardiomegaly": "present"})
    asked = {}

    def follow(path: Path, known: object, edits: object, *_: object, seed: int) -> Consequences:
        asked[path.name] = (known, edits, seed)
        return heart

    monkeypatch.setattr("synthesis.editing.request.consequences_of", follow)
    (tmp_path / "labels.json").write_text("{}")
    words = ("edit", file, "--model", model, "--set", "age=90", "-o", tmp_path / "out.dcm")
    code, said, _ = fedcxr(*words, *BRIEF, "--population", tmp_path / "labels.json", "--seed", 4)
    assert code == 0
    assert "follows from it: cardiomegaly present" in said
    known = {"age": 60.0, "sex": "F", "view": "PA", "manufacturer": 1}
    assert asked == {"labels.json": (known, {"age": 90.0}, 4)}


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    refused: Refused, model: Path, file: Path, tmp_path: Path
) -> None:
    ask = ("edit", file, "--model", model, "-o", tmp_path / "out.dcm", "--set")
    assert "nothing would change" in refused(*ask, "sex=F")
    assert "'heart' is not something this model knows" in refused(*ask, "heart=large")
    assert "a box is LEFT,TOP" in refused(*ask, "sex=M", "--box", "1,0,0,1")
    mask_file(tmp_path / "mask.png")
    assert "give one of them" in refused(
        *(*ask, "sex=M", "--box", "0,0,1,1", "--mask", tmp_path / "mask.png")
    )
    Image.new("L", (SIDE, SIDE + 1), 255).save(tmp_path / "mask.png")
    assert "has 16 x 17 pixels, not 16 x 16" in refused(
        *ask, "sex=M", "--mask", tmp_path / "mask.png"
    )
    assert "end -o so" in refused(
        "edit", file, "--model", model, "-o", tmp_path / "out.jpg", "--set", "sex=M"
    )
    distilled = model.parent / "distilled"
    assert "distilled to 2 steps" in refused(
        "edit", file, "--model", distilled, "-o", tmp_path / "out.dcm", "--set", "sex=M"
    )
    assert not (tmp_path / "out.dcm").exists()
