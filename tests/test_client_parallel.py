"""A round trained by several processes: the same result, and nobody left over."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from client.config import SiteConfig, TrainingMachine
from client.kept import Finished, KeptRounds
from client.parallel.job import read_job, write_job
from client.parallel.launch import LOG, TooFewDevices, TrainingEnded, train_together
from client.refused import NotTaken
from client.rounds import together, train
from client.task import check, start_of
from federation.config import StudyConfig, study_json
from federation.messages import Instruction, RefusalCode
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining, LoraStage
from model.adapter import initial_adapter
from model.arrays import Arrays

LOCAL = LocalTraining(
    local_steps=3,
    batch_size=5,
    learning_rate=0.01,
    optimizer="sgd",
    max_grad_norm=1.0,
    proximal=5.0,
)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
HALF = LocalTraining(local_steps=3, batch_size=5, learning_rate=1e-3, precision="bf16")
LORA = LoraStage(kind="lora", num_rounds=3, local=HALF, rank=2, alpha=2.0, rule="alternate")
TWO = TrainingMachine(processes=2, recompute=True)
PATIENCE_SECONDS = 120.0


@pytest.fixture
def study(study_of: Callable[..., StudyConfig]) -> StudyConfig:
    return study_of(FULL, LORA, num_sites=1, min_sites=1)


@pytest.fixture
def sites(
    make_hospital: Callable[..., SiteConfig], memory_path: Path
) -> tuple[SiteConfig, SiteConfig]:
    """The same hospital twice, with one process and with two."""
    one, other = (make_hospital(memory_path / name, num_records=24) for name in "ab")
    return one, replace(other, training=TWO)


def finished_of(site: SiteConfig, instruction: Instruction) -> Finished:
    return train(site, check(instruction), kept_of(site))


def kept_of(site: SiteConfig) -> KeptRounds:
    return KeptRounds(site.state_path / "kept")


def difference(found: Arrays, expected: Arrays) -> float:
    """Length of the difference, as a share of the length of what is expected."""
    assert found.keys() == expected.keys()
    errors = [np.square(found[name] - expected[name]).sum() for name in expected]
    lengths = [np.square(expected[name]).sum() for name in expected]
    return float(np.sqrt(sum(errors) / sum(lengths)))


@pytest.mark.slow
def test_two_processes_change_a_whole_model_as_one_does(
    sites: tuple[SiteConfig, SiteConfig], study: StudyConfig, random_weights: Arrays
) -> None:
    instruction = Instruction(
        study=study_json(study), round_number=1, weights=inline_shipment(random_weights)
    )
    alone, two = (finished_of(site, instruction) for site in sites)
    assert two.update.loss == pytest.approx(alone.update.loss, rel=1e-5)
    assert two.update.held_out_loss == pytest.approx(alone.update.held_out_loss, rel=1e-5)
    # Sums in another order; three steps of a network with random weights magnify it a hundredfold.
    assert difference(two.change, alone.change) < 1e-4


@pytest.mark.slow
def test_two_processes_go_on_with_an_adapter_in_half_precision_as_one_does(
    sites: tuple[SiteConfig, SiteConfig], study: StudyConfig, random_weights: Arrays
) -> None:
    """The factors B rest in the third round; the fourth goes on with their moments of the second."""
    start = initial_adapter(study.model_config, LORA.adapter, torch.Generator())
    second = Instruction(
        study=study_json(study),
        round_number=2,
        weights=inline_shipment({name: array + np.float32(0.01) for name, array in start.items()}),
        base=inline_shipment(random_weights),
    )
    alone, two = sites
    for site in (alone, replace(two, training=TrainingMachine())):
        finished_of(site, second)
    fourth = replace(second, round_number=4)
    expected, found = (finished_of(site, fourth) for site in sites)
    assert found.update.loss == pytest.approx(expected.update.loss, rel=2e-3)
    assert found.update.held_out_loss == pytest.approx(expected.update.held_out_loss, rel=2e-3)
    # bfloat16 carries 8 bits, and AdamW takes the same step for a small gradient as for a large one.
    assert difference(found.change, expected.change) < 0.15
    states = [kept_of(site).optimizer_state(5, first=2) for site in sites]
    assert difference(states[1], states[0]) < 0.05
    assert {float(value) for name, value in states[1].items() if name.startswith("step|")} == {6.0}


@pytest.fixture
def endless(
    sites: tuple[SiteConfig, SiteConfig], study: StudyConfig, random_weights: Arrays
) -> Path:
    """The folder of a job that does not end by itself."""
    endless_local = replace(LOCAL, local_steps=1_000_000)
    study = replace(study, stages=(replace(FULL, local=endless_local),))
    instruction = Instruction(
        study=study_json(study), round_number=1, weights=inline_shipment(random_weights)
    )
    site = sites[1]
    task, kept = check(instruction), kept_of(site)
    start = start_of(site, task, kept)
    write_job(kept.folder, together(site, task, start), start.weights, {})
    return kept.folder


def workers_of(parent: psutil.Process) -> list[psutil.Process]:
    """Waits until both processes of the job below a process have met."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = [child for child in parent.children(recursive=True) if is_worker(child)]
        if len(found) == 2 and all(child.net_connections() for child in found):
            return found
        time.sleep(0.1)
    raise TimeoutError


def is_worker(process: psutil.Process) -> bool:
    try:
        return "client.parallel.worker" in process.cmdline()[3:4]
    except psutil.Error:
        return False


@contextmanager
def collected(errors: list[TrainingEnded], work: Callable[[], object]) -> Iterator[None]:
    """Runs beside the test, and keeps what is raised."""

    def run() -> None:
        try:
            work()
        except TrainingEnded as err:
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE_SECONDS)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_round_with_one_sentence_and_no_orphan(
    endless: Path, random_weights: Arrays, tmp_path: Path
) -> None:
    errors: list[TrainingEnded] = []
    job, folder = read_job(endless), tmp_path / "job"
    with collected(errors, lambda: train_together(folder, job, random_weights, {})):
        workers = workers_of(psutil.Process())
        family = psutil.Process().children(recursive=True)
        listening = [
            connection.laddr.ip
            for process in family
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        workers[1].kill()
    assert set(listening) <= {"127.0.0.1", "::1"}
    (error,) = errors
    assert str(error).startswith("one of the 2 processes that trained together ended early")
    assert str(folder / LOG) in str(error)
    assert psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1] == []


@pytest.mark.slow
def test_a_hospital_that_is_killed_leaves_no_process_behind(endless: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model.arrays import load_arrays\n"
        "from client.parallel.job import WEIGHTS, read_job\n"
        "from client.parallel.launch import train_together\n"
        "job = Path(sys.argv[1])\n"
        "train_together(Path(sys.argv[2]), read_job(job), load_arrays(job / WEIGHTS), {})\n"
    )
    hospital = subprocess.Popen(
        [sys.executable, "-c", program, str(endless), str(tmp_path / "job")]
    )
    workers = workers_of(psutil.Process(hospital.pid))
    family = psutil.Process(hospital.pid).children(recursive=True)
    hospital.send_signal(signal.SIGKILL)
    hospital.wait()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    assert len(workers) == 2
    assert alive == []


def test_a_hospital_that_takes_part_no_more_ends_the_processes_of_its_round(
    endless: Path, random_weights: Arrays, tmp_path: Path
) -> None:
    family = list[psutil.Process]()

    def look() -> None:
        family.extend(psutil.Process().children(recursive=True))
        raise NotTaken(RefusalCode.PAUSED, "paused")

    with pytest.raises(NotTaken, match="paused"):
        train_together(tmp_path / "job", read_job(endless), random_weights, {}, look=look)
    assert family
    assert psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1] == []


def test_more_processes_than_gpus_are_refused(
    endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TooFewDevices, match=r"is 2 .* this machine has 1 GPUs"):
        train_together(tmp_path / "job", read_job(endless), {}, {})
