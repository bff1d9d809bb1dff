"""Drawing radiographs with a saved model: what is repeatable, what a condition does, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.adapter import adapter_shapes
from model.arrays import Arrays, digest_arrays
from model.checkpoint import save_model
from model.conditioning import FINDINGS, Schema
from model.config import AdapterConfig, model_config
from model.manifest import Manifest
from model.pictures import SEPARATOR
from synthesis.generation.wish import UnknownWish, Wish

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
SIDE = 16
LORA = AdapterConfig(rank=2, alpha=4.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, random_weights: Arrays) -> Path:
    """A model, an adapter to it, and an adapter to another model."""
    root = tmp_path_factory.mktemp("models")
    manifest = Manifest(
        model=model_config("tiny", SIDE),
        findings=FINDINGS,
        kind="full",
        adapter=None,
        study_name="toy",
        study_digest="0" * 64,
        rounds=1,
        sites=("a",),
        parent_digest=None,
        weights_digest=digest_arrays(random_weights),
    )
    save_model(root / "model", random_weights, manifest)
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


def test_what_is_not_wished_for_is_left_open() -> None:
    row = Schema().row(Wish(view="AP", findings=("edema=uncertain",)).metadata(Schema()))
    given = dict(zip(Schema().names, row.tolist(), strict=True))
    assert {name: value for name, value in given.items() if value and not np.isnan(value)} == {
        "view": 2.0,
        "edema": 3.0,
    }
    assert np.isnan(given["age"])


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (Wish(sex="X"), "'X' is not something this model knows: give one of F, M"),
        (Wish(view="front"), "give one of PA, AP, LATERAL, OTHER"),
        (Wish(findings=("cough=present",)), "'cough' is not something this model knows"),
        (Wish(findings=("edema",)), "give one of absent, present, uncertain, not_mentioned"),
        (Wish(findings=("edema=huge",)), "'huge' is not something this model knows"),
    ],
)
def test_a_wish_the_model_does_not_know_names_what_it_knows(wish: Wish, sentence: str) -> None:
    with pytest.raises(UnknownWish) as caught:
        wish.metadata(Schema())
    assert sentence in str(caught.value)


def test_the_command_draws_and_says_where(fedcxr: Command, folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.png"
    words = ["generate", folders / "model", "--out", out, "--n", 2, "--steps", 1, "--seed", 3]
    assert fedcxr(*words) == (0, f"2 radiographs: {out}\n", "")
    first = out.read_bytes()
    code, said, err = fedcxr(*words, "--json", "--adapter", folders / "adapter", "--sex", "F")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in said.splitlines()] == [
        {"out": str(out), "n": 2, "seed": 3}
    ]
    assert out.read_bytes() != first


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sex", "X"], "'X' is not something"),
        (["--view", "front"], "'front' is not something"),
        (["--finding", "cough=present"], "'cough' is not something"),
        (["--finding", "edema=big"], "'big' is not something"),
    ],
)
def test_an_unknown_condition_is_refused(
    refused: Refused, folders: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    out = tmp_path / "x.png"
    assert sentence in refused("generate", folders / "model", "--out", out, *words)
    assert not out.exists()


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
