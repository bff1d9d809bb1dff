"""A data set of generated radiographs: what is in the folder, and that stopping it costs nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

import synthesis.generation.dataset
from client.dicom.outcome import Radiograph
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.labels.presets import load_mapping
from client.labels.table import read_labels
from federation.files import AlreadyRunning, hold_lock
from model.arrays import Arrays, replacing
from model.conditioning import FINDINGS, Schema
from model.folder import save_model
from model.generate import BATCH, Generator, draw, open_generator
from model.guidance import Guidance
from model.manifest import Manifest
from model.sampler import Sampling
from synthesis.generation.dataset import Format, Order, OtherDataset, write_dataset
from synthesis.generation.dicom import NoView, read_provenance, stored_values
from synthesis.generation.plan import draw_group, plan_of
from synthesis.generation.progress import no_progress
from synthesis.generation.prompts import Prompts, read_prompts, single_prompt
from synthesis.generation.wish import Wish

SIDE = 16
SITES = {"north": 1}
FAST = Sampling(num_steps=1, guidance=Guidance(scale=1.0), method="euler")
TABLE = f"""age,sex,view,site,edema,fracture,n,seed
70,F,PA,north,present,not_mentioned,3,
20.5,M,AP,,uncertain,absent,{2 * BATCH},
,,LATERAL,,,,2,9
,F,LATERAL,,,,2,9
"""
NUM_PICTURES = 2 * BATCH + 7


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Arrays, toy_manifest: Manifest
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    manifest = replace(toy_manifest, sites=tuple(SITES), site_numbers=SITES)
    save_model(folder, random_weights, manifest)
    return folder


@pytest.fixture(scope="module")
def generator(model: Path) -> Generator:
    return open_generator(model)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    path = tmp_path_factory.mktemp("prompts") / "prompts.csv"
    path.write_text(TABLE)
    return read_prompts(path, Schema(), SITES, usual_count=1)


@pytest.fixture(scope="module")
def order(generator: Generator, prompts: Prompts) -> Order:
    plan = plan_of(prompts, seed=5)
    return Order(generator=generator, plan=plan, sampling=FAST, format="png")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, order: Order) -> Path:
    """The data set, written without a stop; tests only look at it."""
    folder = tmp_path_factory.mktemp("whole") / "set"
    assert write_dataset(folder, order, no_progress) == NUM_PICTURES
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_holds_every_picture_its_label_and_the_prompts(whole: Path) -> None:
    names = {f"images/{number:06d}.png" for number in range(NUM_PICTURES)}
    assert set(content(whole)) == names | {"labels.csv", "prompts.csv", "provenance.json"}
    assert [row["file"] for row in rows(whole)] == sorted(names)
    assert len({row["study_instance_uid"] for row in rows(whole)}) == NUM_PICTURES
    first, last = rows(whole)[0], rows(whole)[-1]
    assert (first["age"], first["sex"], first["view"], first["site"]) == ("70", "F", "PA", "north")
    assert (first["edema"], first["fracture"], first["pneumonia"]) == ("1", "", "unknown")
    assert (first["seed"], first["number"]) == ("5", "0")
    assert (last["seed"], last["number"], last["age"]) == ("9", "1", "")


def test_a_picture_has_sixteen_bits_and_is_the_one_that_its_seed_and_number_draw(
    whole: Path, generator: Generator, order: Order
) -> None:
    images = draw(generator, _condition(order), seed=5, sampling=FAST)
    for number in (0, 3, BATCH + 5):
        with Image.open(whole / "images" / f"{number:06d}.png") as file:
            assert file.mode == "I;16"
            pixels = np.asarray(file)
        np.testing.assert_array_equal(pixels, stored_values(images[number, 0].numpy()))


def _condition(order: Order) -> torch.Tensor:
    return torch.from_numpy(order.plan.prompts.rows[order.plan.prompt_of])


def test_prompts_with_one_seed_begin_with_the_same_noise(generator: Generator) -> None:
    two = np.stack([Wish(values={"age": 50.0}).row(Schema())] * 2)
    one = np.array([1, 1], np.int64)
    same = plan_of(Prompts(rows=two, counts=one, seeds=np.array([9, 9])), seed=0)
    other = plan_of(Prompts(rows=two, counts=one, seeds=np.array([9, 8])), seed=0)
    first, second = draw_group(generator, same, 0, FAST)
    assert torch.equal(first, second)
    first, second = draw_group(generator, other, 0, FAST)
    assert not torch.equal(first, second)


def test_a_picture_says_in_its_file_how_it_came_about(whole: Path, order: Order) -> None:
    with Image.open(whole / "images" / "000004.png") as file:
        told = json.loads(file.text["Provenance"])  # type: ignore[attr-defined]
        assert "not for diagnosis" in file.text["Description"]  # type: ignore[attr-defined]
    assert (told["seed"], told["number"]) == (5, 4)
    assert told["model_digest"] == order.generator.manifest.weights_digest
    assert told["condition"] == {
        "age": "20.5",
        "sex": "M",
        "view": "AP",
        "edema": "uncertain",
        "fracture": "absent",
    }
    facts = json.loads((whole / "provenance.json").read_text())
    assert facts["num_pictures"] == NUM_PICTURES
    assert facts["model_digest"] == told["model_digest"]


def test_the_labels_are_read_by_the_projects_own_mapping(whole: Path) -> None:
    mapping = load_mapping("fedcxr", Path())
    labels = read_labels(whole / "labels.csv", mapping, FINDINGS)
    assert labels.problems == {}
    study = rows(whole)[0]["study_instance_uid"]
    assert labels.of(mapping.key.identifier(study)) == {
        "edema": "present",
        "fracture": "not_mentioned",
    }


def test_a_data_set_of_dicom_files_is_read_by_a_hospital_that_wants_it(
    tmp_path: Path, order: Order
) -> None:
    small = replace(order, plan=plan_of(_few(order), seed=1), format="dx")
    assert write_dataset(tmp_path / "set", small, no_progress) == 3
    for row in rows(tmp_path / "set"):
        path = tmp_path / "set" / row["file"]
        header = dcmread(path)
        assert header.StudyInstanceUID == row["study_instance_uid"]
        assert json.loads(read_provenance(header) or "")["number"] == int(row["number"])
        found = read_file(path, image_size=SIDE, policy=ReadPolicy(synthetic=True))
        assert not isinstance(found, Radiograph) or found.metadata.view == row["view"]


def _few(order: Order) -> Prompts:
    """The first prompt only."""
    full = order.plan.prompts
    return Prompts(rows=full.rows[:1], counts=full.counts[:1], seeds=full.seeds[:1])


@pytest.mark.parametrize("form", ["sc", "dx"])
def test_a_data_set_that_cannot_be_written_to_its_end_is_not_begun(
    tmp_path: Path, order: Order, form: Format
) -> None:
    open_view = plan_of(single_prompt(Wish(), Schema(), 2), seed=1)
    wanted = replace(order, plan=open_view, format=form)
    if form == "dx":
        with pytest.raises(NoView):
            write_dataset(tmp_path / "set", wanted, no_progress)
        assert not (tmp_path / "set").exists()
    else:
        assert write_dataset(tmp_path / "set", wanted, no_progress) == 2


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Writing of the n-th file is cut in the middle, and nothing is cleaned up."""
    left = [step]

    def count_down(path: Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            (path.parent / f".{path.name}.0.partial").write_bytes(b"half")
            raise Killed

    @contextmanager
    def replacing_until_killed(path: Path) -> Iterator[Path]:
        count_down(path)
        with replacing(path) as partial:
            yield partial

    def put_until_killed(path: Path, written: bytes) -> None:
        count_down(path)
        path.write_bytes(written)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis.generation.dataset, "replacing", replacing_until_killed)
        patch.setattr(synthesis.generation.dataset, "_put", put_until_killed)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize(
    ("step", "num_left"),
    [
        (1, NUM_PICTURES),  # provenance
        (2, NUM_PICTURES),  # prompts
        (3 + BATCH // 2, NUM_PICTURES),  # a picture
        (3 + BATCH, NUM_PICTURES),  # the first group's labels
        (4 + BATCH, NUM_PICTURES - BATCH),  # the second group's first picture
        (NUM_PICTURES + 6, 0),  # all labels
    ],
)
def test_stopped_at_any_file_the_same_order_goes_on_to_the_same_bytes(
    memory_path: Path, order: Order, whole: Path, step: int, num_left: int
) -> None:
    folder = memory_path / "set"
    with killed_at(step):
        write_dataset(folder, order, no_progress)
    assert not (folder / "labels.csv").exists()
    assert write_dataset(folder, order, no_progress) == num_left
    assert content(folder) == content(whole)


def test_a_finished_data_set_is_left_as_it_is(tmp_path: Path, order: Order) -> None:
    small = replace(order, plan=plan_of(_few(order), seed=1))
    folder = tmp_path / "set"
    write_dataset(folder, small, no_progress)
    (folder / "parts").mkdir()  # killed while this was removed
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert write_dataset(folder, small, no_progress) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (folder / "parts").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, order: Order, whole: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OtherDataset, match="holds something else"):
        write_dataset(tmp_path, order, no_progress)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    others = [
        replace(order, sampling=replace(FAST, num_steps=2)),
        replace(order, format="sc"),
        replace(order, plan=plan_of(order.plan.prompts, seed=6)),
        replace(order, generator=replace(order.generator, adapter_digest="f" * 64)),
    ]
    before = content(whole)
    for other in others:
        with pytest.raises(OtherDataset):
            write_dataset(whole, other, no_progress)
    assert content(whole) == before


def test_two_processes_do_not_write_one_data_set(tmp_path: Path, order: Order) -> None:
    small = replace(order, plan=plan_of(_few(order), seed=1))
    write_dataset(tmp_path / "set", small, no_progress)
    with hold_lock(tmp_path / "set" / "provenance.json"), pytest.raises(AlreadyRunning):
        write_dataset(tmp_path / "set", small, no_progress)


def test_progress_is_told_after_each_group(memory_path: Path, order: Order) -> None:
    told: list[tuple[int, int]] = []
    write_dataset(memory_path / "set", order, lambda done, of: told.append((done, of)))
    assert told == [(done, NUM_PICTURES) for done in (BATCH, 2 * BATCH, NUM_PICTURES)]


@pytest.mark.slow
def test_killed_with_the_hardest_signal_the_same_command_goes_on_to_the_same_bytes(
    tmp_path: Path, model: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    words = [
        "generate", str(model), "--n", str(12 * BATCH), "--steps", "1", "--method", "euler",
        "--guidance", "1", "--seed", "5", "--dataset",
    ]  # fmt: skip
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "cli", *words, str(killed)]
    process = subprocess.Popen(command, cwd=Path(synthesis.generation.dataset.__file__).parents[2])
    second_part = killed / "parts" / "00000001.csv"
    while not second_part.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "labels.csv").exists()
    code, said, _ = fedcxr(*words, killed, "--json")
    assert code == 0
    assert 0 < json.loads(said)["drawn"] <= 10 * BATCH
    assert fedcxr(*words, tmp_path / "whole")[0] == 0
    assert content(killed) == content(tmp_path / "whole")
