"""The stress command: classifiers in three formats, what they are shown, and what is refused."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.cache.records import open_cache
from model.arrays import Arrays
from model.conditioning import FINDINGS, Metadata, Schema
from model.folder import save_model
from model.manifest import Manifest
from synthesis.stress.classifier import InputForm
from synthesis.stress.judges import train_reference
from synthesis.stress.opening import open_classifier

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
SIDE = 16
QUICK = (
    *("--finding", "edema", "--n", 2, "--edits", 4, "--steps", 1, "--edit-steps", 1),
    *("--min-cell", 2, "--by", "sex"),
)
PYTHON = """
import numpy as np

def mean(pictures):
    assert pictures.dtype == np.float32
    brightness = pictures.mean(axis=(1, 2, 3))[:, None]
    return np.concatenate([1 - brightness, brightness], axis=1)

def single(pictures):
    return pictures.mean(axis=(1, 2, 3))

def logits(pictures):
    return 9 * pictures.mean(axis=(1, 2, 3))

def broken(pictures):
    return pictures["heart"]

def undefined(pictures):
    return np.full(len(pictures), np.nan)
"""


class MeanBrightness(nn.Module):
    """Two outputs: dark and bright."""

    def forward(self, pictures: Tensor) -> Tensor:
        """(batch, 2)."""
        brightness = pictures.mean(dim=(1, 2, 3))
        return torch.stack([1 - brightness, brightness], dim=1)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about how sure a number is."""
    monkeypatch.setattr("synthesis.stress.request.NUM_RESAMPLES", 10)
    monkeypatch.setattr("synthesis.stress.figures.RESAMPLES_PER_COMPARISON", 10)
    monkeypatch.setattr("synthesis.stress.request.NUM_STEPS", 5)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Arrays, toy_manifest: Manifest
) -> Path:
    folder = tmp_path_factory.mktemp("stress") / "model"
    save_model(folder, random_weights, toy_manifest)
    return folder


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same two outputs as TorchScript, ONNX and Python."""
    onnx = pytest.importorskip("onnx")
    root = tmp_path_factory.mktemp("classifiers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pictures = torch.zeros(2, 1, SIDE, SIDE)
        traced = torch.jit.trace(MeanBrightness(), pictures)  # type: ignore[no-untyped-call]
        traced.save(str(root / "c.pt"))
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    axes, one, dark_and_bright = (
        helper.make_tensor(name, kind, shape, values)
        for name, kind, shape, values in (
            ("axes", onnx.TensorProto.INT64, [2], [2, 3]),
            ("offset", floats, [2], [1.0, 0.0]),
            ("factor", floats, [1, 2], [-1.0, 1.0]),
        )
    )
    nodes = [
        helper.make_node("ReduceMean", ["pictures", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "factor", "offset"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("pictures", floats, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", floats, ["n", 2])],
        [axes, one, dark_and_bright],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(root / "c.onnx"))
    (root / "c.py").write_text(PYTHON)
    return root


def report(fedcxr: Command, *words: object) -> dict[str, Any]:
    code, out, err = fedcxr("stress", *words, *QUICK, "--json")
    assert (code, err) == (0, "")
    content: dict[str, Any] = json.loads(out)
    return content


@pytest.mark.slow
def test_all_three_formats_of_one_classifier_give_the_same_report(
    fedcxr: Command, model: Path, classifiers: Path, tmp_path: Path
) -> None:
    reports = [
        report(fedcxr, model, given, "--outputs", "fracture,edema", "-o", tmp_path / "out")
        for given in (
            classifiers / "c.pt",
            classifiers / "c.onnx",
            f"python:{classifiers}/c.py:mean",
        )
    ]
    shifts = [[flips["shift"] for flips in content["edits"][0]["flips"]] for content in reports]
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[0], np.shape(shifts)), atol=1e-6)
    assert np.abs(shifts[0]).max() > 1e-4
    assert [len(content["tables"][0]["groups"]) for content in reports] == [2, 2, 2]
    assert (tmp_path / "out" / "report.html").exists()


def test_the_output_under_test_is_found_by_its_name(
    fedcxr: Command, model: Path, classifiers: Path, tmp_path: Path
) -> None:
    def shift(outputs: str) -> float:
        given = f"python:{classifiers}/c.py:mean"
        content = report(fedcxr, model, given, "--outputs", outputs, "-o", tmp_path / "out")
        return float(content["edits"][0]["flips"][0]["shift"])

    assert shift("edema,fracture") == pytest.approx(-shift("fracture,edema"), abs=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(
    fedcxr: Command, model: Path, classifiers: Path, tmp_path: Path
) -> None:
    pages = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        given = f"python:{classifiers}/c.py:single"
        report(fedcxr, model, given, "-o", tmp_path / name, "--seed", seed)
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1] != pages[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, fill_cache: Callable[..., None]) -> Path:
    """A hundred patients, 40 of them held out; half show an edema, and nobody speaks of fractures."""
    from client.tally import Tally

    path, num_records = tmp_path_factory.mktemp("hospital") / "cache", 100
    numbers = np.arange(num_records)
    rows = [
        Schema().row(
            Metadata(
                age=50.0,
                sex="FM"[number % 2],
                view="PA",
                race=None,
                site=None,
                manufacturer=None,
                findings={
                    "edema": ("present", "absent", "present", "not_mentioned")[number // 2 % 4]
                },
            )
        )
        for number in range(num_records)
    ]
    tally = Tally(
        num_files=num_records,
        num_usable=num_records,
        refused={},
        num_patients=num_records,
        num_held_out=40,
    )
    shape = (num_records, SIDE, SIDE)
    fill_cache(
        path,
        images=np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16),
        rows=np.stack(rows),
        patients=numbers.astype(np.uint64),
        held_out=numbers % 5 < 2,
        findings=FINDINGS,
        tally=tally,
    )
    return path


@pytest.mark.slow
def test_with_real_radiographs_the_page_says_that_it_stays_in_the_hospital(
    fedcxr: Command, model: Path, classifiers: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = f"python:{classifiers}/c.py:single"
    content = report(fedcxr, model, given, "--real", cache, "-o", out)
    generated, real = content["tables"]
    assert [real["everything"]["figures"][f"num_{state}"] for state in ("present", "absent")] == [
        20,
        20,
    ]
    assert [edits["title"] for edits in content["edits"]] == [generated["title"], real["title"]]
    assert content["has_reference"]
    assert generated["everything"]["reference"]["auroc"] is not None
    assert "must stay in the hospital" in (out / "report.html").read_text()
    assert (out / "report.html").stat().st_mode & 0o777 == 0o600


def test_the_reference_learns_from_what_is_not_held_out(cache: Path) -> None:
    records = open_cache(cache)
    for held_out, is_taught in ((True, False), (False, True)):
        part = replace(records, held_out=np.full(len(records), held_out))
        assert (train_reference(part, "edema", num_steps=1, seed=0) is not None) == is_taught
    assert train_reference(records, "fracture", num_steps=1, seed=0) is None


def test_a_hospital_that_knows_nothing_of_the_finding_cannot_test_it(
    refused: Refused, model: Path, classifiers: Path, cache: Path, tmp_path: Path
) -> None:
    given = f"python:{classifiers}/c.py:single"
    words = (*QUICK, "--finding", "fracture", "--real", cache, "-o", tmp_path / "out")
    assert "held-out radiographs is known to show fracture or not" in refused(
        "stress", model, given, *words
    )


@pytest.mark.parametrize(
    "case",
    [
        ("nothing.pt", (), "nothing.pt is no classifier: give a TorchScript file"),
        ("c.txt", (), "c.txt is no classifier"),
        ("python:{}/absent.py:f", (), "absent.py:f is no classifier"),
        ("python:{}/c.py:nobody", (), "does not run (AttributeError"),
        ("python:{}/c.py:broken", (), "does not run (IndexError in c.py, line"),
        ("python:{}/c.py:undefined", (), "gave a score that is not a finite number"),
        ("python:{}/c.py:logits", ("--range", "0..255"), "give --logits if its scores are"),
        ("python:{}/c.py:mean", (), "gave scores of shape (8, 2) for 8 pictures and 1 outputs"),
        ("python:{}/c.py:mean", ("--outputs", "fracture"), "outputs are fracture and not edema"),
        ("python:{}/c.py:single", ("--range", "white"), "'white' is no range of pixel values"),
        ("python:{}/c.py:single", ("--by", "shoe"), "cannot be grouped by 'shoe'"),
        ("python:{}/c.py:single", ("--by", "sex"), "cannot be grouped by 'sex twice'"),
        ("python:{}/c.py:single", ("--other", "cough"), "'cough' is not something"),
        ("{}/c.onnx", ("--channels", "3"), "does not run ("),
        ("{}/damaged.pt", (), "does not run (RuntimeError"),
    ],
    ids=lambda case: case[2],
)
def test_a_classifier_or_a_word_that_does_not_do_is_refused(
    refused: Refused,
    model: Path,
    classifiers: Path,
    tmp_path: Path,
    case: tuple[str, tuple[str, ...], str],
) -> None:
    given, words, sentence = case
    (classifiers / "damaged.pt").write_bytes(b"PK not a module")
    given = given.format(classifiers)
    message = refused("stress", model, given, *QUICK, "-o", tmp_path / "out", *words)
    assert sentence in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_onnx_classifier_without_its_package_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, classifiers: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"pip install 'fedcxr\[onnx\]'"):
        open_classifier(str(classifiers / "c.onnx"))


def test_a_classifier_is_shown_pictures_in_its_own_size_range_and_channels() -> None:
    pictures = torch.stack([torch.full((1, 8, 8), -1.0), torch.full((1, 8, 8), 1.0)])
    form = InputForm(image_size=5, low=-1024.0, high=1024.0, num_channels=3)
    shown = form.apply(pictures)
    assert shown.shape == (2, 3, 5, 5)
    assert shown.dtype == np.float32
    assert shown.min(axis=(1, 2, 3)).tolist() == shown.max(axis=(1, 2, 3)).tolist()
    assert shown[:, 0, 0, 0].tolist() == [-1024.0, 1024.0]
