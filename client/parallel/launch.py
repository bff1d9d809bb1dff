"""Having several processes train a round together, and none left over whatever happens."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from client.parallel.job import Job, Outcome, read_outcome, write_job
from client.refused import NotTaken
from federation.files import make_private_folder
from federation.messages import RefusalCode
from model.arrays import Arrays

LOG = "log.txt"
LOOK_SECONDS = 1.0
STOP_SECONDS = 30.0
"""Time that the processes get to end when the round is given up."""


class TooFewDevices(NotTaken):
    """The profile asks for more processes than there are GPUs."""

    def __init__(self, *, wanted: int, found: int) -> None:
        super().__init__(
            RefusalCode.STUDY,
            f"training.processes is {wanted} in the hospital's profile and this machine has {found} GPUs: its data "
            f"manager sets it to {found} or less",
        )


class TrainingEnded(RuntimeError):
    """A process of the round died, and took the round with it."""

    def __init__(self, *, num_processes: int, log_path: Path) -> None:
        super().__init__(
            f"one of the {num_processes} processes that trained together ended early and the others were stopped: "
            f"{log_path} says why; the next instruction of the coordinator starts the round anew."
        )


def keep_going() -> None:
    """Let the round go on."""


def train_together(
    folder: Path,
    job: Job,
    weights: Arrays,
    optimizer_state: Arrays,
    *,
    look: Callable[[], None] = keep_going,
) -> Outcome:
    """One round in as many processes as the job says.

    Args:
        folder: Emptied, used for what passes between the processes, and removed unless they fail.
        job: What to train; the same job in one process gives the same but for rounding.
        weights: What the coordinator sent: the whole model, or the adapter.
        optimizer_state: As returned by the round before; empty to start afresh.
        look: Called about every second; what it raises ends the processes, and is raised here.

    Raises:
        TooFewDevices: there are GPUs, but fewer than processes.
        TrainingEnded: a process did not finish; none of the others is left.
    """
    num_processes = job.machine.processes
    if torch.cuda.is_available() and torch.cuda.device_count() < num_processes:
        raise TooFewDevices(wanted=num_processes, found=torch.cuda.device_count())
    shutil.rmtree(folder, ignore_errors=True)
    write_job(make_private_folder(folder), job, weights, optimizer_state)
    if _run(folder, num_processes, job.num_threads, look) != 0:
        raise TrainingEnded(num_processes=num_processes, log_path=folder / LOG)
    outcome = read_outcome(folder)
    shutil.rmtree(folder)
    return outcome


def _run(folder: Path, num_processes: int, num_threads: int, look: Callable[[], None]) -> int:
    """The exit code of torchrun, which ends all processes as soon as one dies."""
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            _command(folder, num_processes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(num_threads),
        )
        try:
            while process.poll() is None:
                look()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_SECONDS)
            return process.returncode
        finally:
            _end(process)


def _command(folder: Path, num_processes: int) -> list[str]:
    """Torchrun on this machine alone; its processes meet in files instead of at a port."""
    return [
        *(sys.executable, "-m", "client.parallel.start", str(os.getpid())),
        *("--nnodes", "1", "--nproc-per-node", str(num_processes), "--max-restarts", "0"),
        *("--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file"),
        *("--rdzv-endpoint", str(folder / "rendezvous"), "--local-addr", "127.0.0.1"),
        *("-m", "client.parallel.worker", str(folder)),
    ]


def _environment(num_threads: int) -> dict[str, str]:
    """This process's, with all talk between the processes kept on the loopback."""
    return os.environ | {
        "OMP_NUM_THREADS": str(num_threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "PYTHONSAFEPATH": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # a port that nobody here needs, open to all
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask torchrun to end its processes, then kill it; they die with it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
