"""The command that draws radiographs: what is repeatable, what a condition does, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage

from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from model.config import AdapterConfig
from model.folder import save_model
from model.manifest import Manifest
from model.pictures import SEPARATOR

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
SIDE = 16
LORA = AdapterConfig(rank=2, alpha=4.0)


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Arrays, toy_manifest: Manifest
) -> Path:
    """A model, an adapter to it, and an adapter to another model."""
    root = tmp_path_factory.mktemp("models")
    manifest = replace(toy_manifest, site_numbers={"north": 1, "south": 2})
    save_model(root / "model", random_weights, manifest)
    save_model(root / "distilled", random_weights, replace(manifest, distilled_steps=3))
    rng = np.random.default_rng(7)
    shapes = adapter_shapes(manifest.model, LORA)
    arrays = {name: rng.normal(0, 0.3, s).astype(np.float32) for name, s in shapes.items()}
    for name, parent in (("adapter", manifest.weights_digest), ("foreign", "f" * 64)):
        digest = digest_arrays(arrays)
        change = replace(
            manifest, kind="adapter", adapter=LORA, parent_digest=parent, weights_digest=digest
        )
        save_model(root / name, arrays, change)
    return root


def picture(fedcxr: Command, folders: Path, out: Path, *words: object) -> bytes:
    """What the command draws in two steps."""
    assert fedcxr("generate", folders / "model", "--out", out, "--steps", 2, *words)[0] == 0
    return out.read_bytes()


def test_the_same_seed_draws_the_same_bytes_and_another_seed_does_not(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    first = picture(fedcxr, folders, tmp_path / "1.png", "--age", 70)
    assert picture(fedcxr, folders, tmp_path / "2.png", "--age", 70) == first
    assert picture(fedcxr, folders, tmp_path / "3.png", "--age", 70, "--seed", 1) != first


def test_every_part_of_a_wish_changes_the_picture(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    wishes: list[list[object]] = [
        [],
        ["--race", "asian"],
        ["--manufacturer", "siemens"],
        ["--manufacturer", 2],
        ["--site", "south"],
        ["--age", 20],
        ["--age", 80],
        ["--sex", "F"],
        ["--view", "AP"],
        ["--finding", "edema=present"],
        ["--finding", "edema=absent"],
        ["--finding", "edema=absent", "--finding", "fracture=present"],
    ]
    out = tmp_path / "x.png"
    pictures = {picture(fedcxr, folders, out, "--n", 1, *wish) for wish in wishes}
    assert len(pictures) == len(wishes)


def test_a_hospital_and_a_maker_are_the_same_by_name_and_by_number(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    by_name = picture(
        fedcxr, folders, tmp_path / "1.png", "--site", "south", "--manufacturer", "ge"
    )
    by_number = picture(fedcxr, folders, tmp_path / "2.png", "--site", 2, "--manufacturer", 5)
    assert by_name == by_number


def test_every_way_to_sample_changes_the_picture(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    ways: list[list[object]] = [
        [],
        ["--method", "euler"],
        ["--guidance", 1],
        ["--guidance", 3],
        ["--guidance-interval", 0, 0.5],
    ]
    out, wish = tmp_path / "x.png", ["--n", 1, "--age", 20, "--view", "AP"]
    pictures = {picture(fedcxr, folders, out, *wish, *way) for way in ways}
    assert len(pictures) == len(ways)
    usual = ["--method", "heun", "--guidance", 1.5, "--guidance-interval", 0.1, 0.9]
    assert picture(fedcxr, folders, out, *wish, *usual) in pictures


def test_a_distilled_model_draws_in_its_own_few_steps_unless_told_otherwise(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    def drawn(model: str, *words: object) -> bytes:
        out = tmp_path / "x.png"
        code, _, err = fedcxr(
            "generate", folders / model, "--out", out, "--n", 1, "--age", 30, *words
        )
        assert (code, err) == (0, "")
        with Image.open(out) as image:
            return image.tobytes()

    few = drawn("model", "--steps", 3, "--method", "euler", "--guidance", 1)
    assert drawn("distilled") == few
    assert drawn("distilled", "--steps", 4) != few
    assert drawn("distilled", "--guidance", 2) != few


def test_one_radiograph_may_be_a_dicom_file(fedcxr: Command, folders: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "new" / "x.dcm", ["--steps", 1, "--view", "PA", "--sex", "F"]
    said = fedcxr("generate", folders / "model", "--out", out, *words)
    assert said == (0, f"1 radiograph: {out}\n", "")
    capture = dcmread(out)
    assert (capture.SOPClassUID, capture.PatientSex) == (SecondaryCaptureImageStorage, "F")
    first = out.read_bytes()
    assert fedcxr("generate", folders / "model", "--out", out, *words)[0] == 0
    assert out.read_bytes() == first
    assert fedcxr("generate", folders / "model", "--out", out, *words, "--kind", "dx")[0] == 0
    assert dcmread(out).SOPClassUID == DigitalXRayImageStorageForPresentation
    assert dcmread(out).pixel_array.tolist() == capture.pixel_array.tolist()


def test_prompts_fill_a_sheet_or_a_data_set(fedcxr: Command, folders: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("sex,n\nF,2\nM,\n")
    words = ["generate", folders / "model", "--prompts", prompts, "--steps", 1]
    assert fedcxr(*words, "--out", tmp_path / "x.png")[1].startswith("3 radiographs: ")
    with Image.open(tmp_path / "x.png") as image:
        assert image.width == 3 * (SIDE + SEPARATOR) - SEPARATOR
    assert fedcxr(*words, "--out", tmp_path / "x.png", "--n", 3)[1].startswith("5 radiographs: ")
    folder = tmp_path / "set"
    code, said, err = fedcxr(*words, "--dataset", folder, "--format", "dicom", "--json")
    assert (code, err) == (0, "")
    assert json.loads(said) == {"out": str(folder), "n": 3, "seed": 0, "drawn": 3}
    assert len(list((folder / "images").glob("*.dcm"))) == 3
    said = fedcxr(*words, "--dataset", folder, "--format", "dicom")[1]
    assert said == f"3 radiographs: {folder}, 3 of them were there already\n"


def test_an_adapter_changes_the_picture(fedcxr: Command, folders: Path, tmp_path: Path) -> None:
    without = picture(fedcxr, folders, tmp_path / "1.png")
    adapter = ("--adapter", folders / "adapter")
    assert picture(fedcxr, folders, tmp_path / "2.png", *adapter) != without


def test_radiographs_lie_side_by_side_in_rows_of_eight(
    fedcxr: Command, folders: Path, tmp_path: Path
) -> None:
    picture(fedcxr, folders, tmp_path / "new" / "nine.png", "--n", 9)
    with Image.open(tmp_path / "new" / "nine.png") as image:
        assert image.mode == "L"
        assert image.size == (
            8 * (SIDE + SEPARATOR) - SEPARATOR,
            2 * (SIDE + SEPARATOR) - SEPARATOR,
        )
        assert np.asarray(image)[:SIDE, :SIDE].std() > 0


def test_the_command_draws_and_says_where(fedcxr: Command, folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.png"
    words = ["generate", folders / "model", "--out", out, "--n", 2, "--steps", 1, "--seed", 3]
    assert fedcxr(*words) == (0, f"2 radiographs: {out}\n", "")
    first = out.read_bytes()
    code, said, err = fedcxr(*words, "--json", "--adapter", folders / "adapter", "--sex", "F")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in said.splitlines()] == [
        {"out": str(out), "n": 2, "seed": 3, "drawn": 2}
    ]
    assert out.read_bytes() != first


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sex", "X"], "'X' is not something"),
        (["--view", "front"], "'front' is not something"),
        (["--finding", "cough=present"], "'cough' is not something"),
        (["--finding", "edema=big"], "'big' is not something"),
        (["--race", "x"], "'x' is not something"),
        (["--site", "west"], "give one of north, south, 1, 2"),
        (["--manufacturer", "acme"], "'acme' is not something"),
        (["--finding", "edema"], "write NAME=VALUE"),
        (["--finding", "edema=present", "--finding", "edema=absent"], "at most once"),
        (["--guidance-interval", 0.9, 0.1], "the guidance interval is 0.9 to 0.1"),
        (["--prompts", "none.csv"], "none.csv: it cannot be read"),
        (["--prompts", "none.csv", "--age", 3], "do not go together"),
        (["--dataset", "set"], "--out and --dataset do not go together"),
        (["--n", 1025], "a sheet holds at most 1024 radiographs"),
    ],
)
def test_an_unknown_condition_is_refused(
    refused: Refused, folders: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    out = tmp_path / "x.png"
    assert sentence in refused("generate", folders / "model", "--out", out, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--n", 2], "a DICOM file holds one radiograph, 2 are asked for"),
        (["--kind", "dx"], "a DX file has to state its view"),
        (["--kind", "dx", "--view", "OTHER"], "a DX file has to state its view"),
    ],
)
def test_what_no_dicom_file_can_hold_is_refused(
    refused: Refused, folders: Path, tmp_path: Path, words: list[object], sentence: str
) -> None:
    out = tmp_path / "x.dcm"
    assert sentence in refused("generate", folders / "model", "--out", out, *words)
    assert not out.exists()


def test_a_data_set_of_something_else_is_refused(
    refused: Refused, folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    message = refused("generate", folders / "model", "--dataset", tmp_path)
    assert "holds something else" in message


def test_a_folder_that_is_no_model_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = ("--out", tmp_path / "x.png")
    assert "absent does not exist" in refused("generate", tmp_path / "absent", *out)
    assert "file does not exist" in refused("generate", tmp_path / "file", *out)
    assert "manifest.json does not exist" in refused("generate", tmp_path, *out)


def test_a_truncated_model_is_refused(refused: Refused, folders: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folders / "model", tmp_path / "model")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    message = refused("generate", copy, "--out", tmp_path / "x.png")
    assert "model.safetensors is not a complete safetensors file" in message


def test_a_model_with_a_changed_number_is_refused(
    refused: Refused, folders: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders / "model", tmp_path / "model")
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    message = refused("generate", copy, "--out", tmp_path / "x.png")
    assert "is not the file that its manifest describes" in message


def test_an_adapter_is_not_a_model(refused: Refused, folders: Path, tmp_path: Path) -> None:
    message = refused("generate", folders / "adapter", "--out", tmp_path / "x.png")
    assert "holds an adapter, not a whole network" in message


@pytest.mark.parametrize("adapter", ["foreign", "model"])
def test_only_an_adapter_to_this_very_model_is_taken(
    refused: Refused, folders: Path, tmp_path: Path, adapter: str
) -> None:
    words = ("--adapter", folders / adapter, "--out", tmp_path / "x.png")
    message = refused("generate", folders / "model", *words)
    assert f"{folders / adapter} is not an adapter to {folders / 'model'}" in message


def test_a_place_that_cannot_take_the_picture_is_refused_before_drawing(
    refused: Refused, folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    message = refused("generate", folders / "model", "--out", tmp_path / "file" / "x.png")
    assert message.startswith(f"{tmp_path}/file cannot be used")
