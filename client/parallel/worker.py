"""One of the processes that train a round together: ``python -m client.parallel.worker FOLDER``.

Started by torchrun, which tells each its number. They meet in a file of the job's folder and talk over the
machine's loopback, so nothing listens where another machine could reach it. Each draws the randomness of whole
batches and computes its share of their records, so that their number changes the result by rounding alone.
"""

import hashlib
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from client.batches import Share
from client.cache.cipher import load_key
from client.cache.records import open_cache
from client.device import frozen_dtype, share_gpus
from client.heap import keep_freed_memory
from client.losses import held_out_loss
from client.optimizer import make_optimizer
from client.parallel.job import OPTIMIZER, Job, Outcome, read_job, weights_of, write_outcome
from client.parallel.sharding import collect, cut, fill, parts_by_name, restore, whole
from client.preparation import prepare
from client.proximal import add_proximal
from client.training import LocalResult, freeze_all_but, run_steps
from client.training_records import EncodedRecords, TrainingRecords
from federation.logs import configure_logging
from federation.processes import die_with_parent
from federation.schedule import derive_seed, site_adapter
from federation.stages import LoraStage
from model.adapter import attach
from model.arrays import load_arrays
from model.codec.opening import open_codec
from model.conditioning import Schema
from model.streaming import empty_network


class CacheChanged(RuntimeError):
    """The processes see different records."""

    def __init__(self) -> None:
        super().__init__(
            "an ingest put another version of the cache in place just as training began: nothing is lost, the "
            "coordinator asks again."
        )


def main() -> None:
    """Train the job in the folder; the first process writes what came of it."""
    die_with_parent()
    configure_logging()
    folder = Path(sys.argv[1])
    job = read_job(folder)
    torch.set_num_threads(job.num_threads)
    keep_freed_memory()
    outcome = train(folder, job, meet(folder))
    if dist.get_rank() == 0:
        write_outcome(folder, outcome)
    dist.barrier()
    leave()


def meet(folder: Path) -> DeviceMesh:
    """All processes of the job, on a GPU each or on the processor."""
    number, of = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(number)
        share_gpus()
    store = dist.FileStore(str(folder / "meeting"), of)  # type: ignore[attr-defined]  # it is there
    backend = "nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=of)
    return init_device_mesh(kind, (of,))


def leave() -> NoReturn:
    """End this process without taking its libraries apart: a thread of theirs now and then aborts it there.

    Everything that shall last is on the disk by now, and every process knows it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def train(folder: Path, job: Job, mesh: DeviceMesh) -> Outcome:
    """This process's share of the round; every process returns the same outcome."""
    share = Share(number=dist.get_rank(), of=dist.get_world_size())
    records = open_records(job, torch.device(mesh.device_type))
    network = build(folder, job, mesh)
    parameters = freeze_all_but(network, frozenset(job.trained))  # before any is put together
    seed = derive_seed(job.config, "held-out")
    held_out = total(held_out_loss(network, records, seed=seed, share=share))
    prepare(network, job.machine)
    started = time.monotonic()
    before = {name: part.detach().clone() for name, part in parameters.items()}
    received = load_arrays(folder / OPTIMIZER)
    local = job.stage.local
    optimizer = make_optimizer(parameters, local, {})
    restore(optimizer, parameters, received)
    pull = partial(add_proximal, parameters, before, local.proximal)
    loss = run_steps(network, optimizer, records, local, seed=job.seed, pull=pull, share=share)
    change = {name: whole(parameters[name] - old) for name, old in before.items()}
    result = LocalResult(
        change=change,
        optimizer_state={**received, **collect(parameters, optimizer)},
        loss=total(loss),
        seconds=time.monotonic() - started,
    )
    return Outcome(result=result, held_out_loss=held_out)


def open_records(job: Job, device: torch.device) -> TrainingRecords:
    """The hospital's records as the network sees them, and the same ones in every process."""
    config = job.config
    key = load_key(None if job.cache_key_path is None else Path(job.cache_key_path))
    records = open_cache(Path(job.cache_path), key).at_site(job.site_number)
    digest = hashlib.sha256()
    for array in (records.rows, records.patients, records.held_out):
        digest.update(array.tobytes())
    mark = torch.tensor(int.from_bytes(digest.digest()[:7], "big"), device=device)
    least, most = mark.clone(), mark.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    if not torch.equal(least, most):
        raise CacheChanged
    path = None if job.codec_path is None else Path(job.codec_path)
    codec = open_codec(config.model_config, config.model.codec_digest, path, device=device)
    return EncodedRecords(records=records, codec=codec)


def build(folder: Path, job: Job, mesh: DeviceMesh) -> nn.Module:
    """The network of the stage, cut over the processes, with the numbers that were received."""
    config, stage, device = job.config, job.stage, torch.device(mesh.device_type)
    lora = isinstance(stage, LoraStage)
    matrices = frozen_dtype(stage.local.precision, device) if lora else torch.float32
    base = empty_network(config.model_config, Schema(config.findings), matrices)
    network: nn.Module = base
    if isinstance(stage, LoraStage):
        with torch.device("meta"):
            network = attach(base, site_adapter(stage, job.site_name), torch.Generator())
    freeze_all_but(network, frozenset(job.trained))
    cut(network, mesh, stage.local.precision)
    fill(parts_by_name(network), weights_of(folder, job))
    return network


def total(share: float) -> float:
    """The sum over all processes."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    value = torch.tensor(share, dtype=torch.float64, device=device)
    dist.all_reduce(value)
    return float(value)


if __name__ == "__main__":
    main()
