"""The teacher's ways on disk: drawn once, a few at a time, and gone on with after an interruption.

Noise is not kept: it follows from the seed and a way's number. Points are kept in half precision, whose error
stays below a tenth of one of the 256 greys of a screen.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from federation.files import write_file
from model.distillation.pieces import Crossings, teacher_points
from model.generate import BATCH
from model.sampler import Sampling, starting_noise
from model.transformer import RectifiedFlowTransformer

POINTS, PROGRESS = "points.npy", "progress.json"


class OtherWays(ValueError):
    """A folder in which somebody began something else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds the beginning of another distillation: repeat the command that it was begun "
            "with, remove it, or give another folder for the result"
        )


class NoRoom(ValueError):
    """A disk that is too small."""

    def __init__(self, folder: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{folder.parent} has {free / 2**30:.1f} GiB left, the teacher's pictures need "
            f"{needed / 2**30:.1f}: ask for fewer pairs, or give a folder on another disk"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WayPlan:
    """What the teacher shall draw."""

    rows: NDArray[np.float32]
    """(way, attribute): the condition of each."""
    num_pieces: int
    sampling: Sampling
    """Of the teacher; its steps are a multiple of the pieces."""
    seed: int

    def digest(self, weights_digest: str) -> str:
        """The same for the same ways of the same teacher."""
        facts = {"pieces": self.num_pieces, "sampling": asdict(self.sampling), "seed": self.seed}
        head = json.dumps([facts, weights_digest, self.rows.shape], sort_keys=True)
        return hashlib.sha256(head.encode() + self.rows.astype("<f4").tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ways:
    """Ways that are being drawn, or done."""

    folder: Path
    digest: str
    plan: WayPlan
    points: np.memmap[tuple[int, ...], np.dtype[np.float16]]
    """(way, piece, channel, height, width): where the teacher left each piece."""
    num_done: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of a point."""
        channel, height, width = self.points.shape[2:]
        return channel, height, width


def open_ways(
    folder: Path, plan: WayPlan, network: RectifiedFlowTransformer, weights_digest: str
) -> Ways:
    """The ways in a folder, as far as they are drawn; a new folder if there is none.

    Raises:
        OtherWays: the folder holds others.
        NoRoom: they would not fit on the disk.
    """
    digest, config = plan.digest(weights_digest), network.config
    side = config.input_size
    shape = (len(plan.rows), plan.num_pieces, config.num_channels, side, side)
    if not (folder / PROGRESS).exists():
        _make(folder, shape, digest)
    progress = json.loads((folder / PROGRESS).read_text())
    if progress["digest"] != digest:
        raise OtherWays(folder)
    points = np.lib.format.open_memmap(folder / POINTS, mode="r+")
    num_done = int(progress["num_done"])
    return Ways(folder=folder, digest=digest, plan=plan, points=points, num_done=num_done)


def draw_ways(
    ways: Ways, network: RectifiedFlowTransformer, on_progress: Callable[[int, int], None]
) -> None:
    """Draw what is missing, a batch at a time, each kept before the next."""
    plan, device = ways.plan, next(network.parameters()).device
    for first in range(ways.num_done, len(plan.rows), BATCH):
        numbers = range(first, min(first + BATCH, len(plan.rows)))
        points = teacher_points(
            network,
            torch.from_numpy(plan.rows[numbers.start : numbers.stop]).to(device),
            starting_noise(ways.shape, seed=plan.seed, numbers=numbers).to(device),
            plan.sampling,
            num_pieces=plan.num_pieces,
            noise_size=network.config.noise_size,
        )
        ways.points[numbers.start : numbers.stop] = points.cpu().numpy()
        ways.points.flush()
        _note(ways.folder, ways.digest, numbers.stop)
        on_progress(numbers.stop, len(plan.rows))


def crossings(
    ways: Ways, *, batch_size: int, seed: int, device: torch.device
) -> Iterator[Crossings]:
    """Batches of pieces of drawn ways, every piece of every way with the same chance."""
    rng, plan = np.random.default_rng(seed), ways.plan
    while True:
        numbers = rng.integers(len(plan.rows), size=batch_size)
        pieces = rng.integers(plan.num_pieces, size=batch_size)
        start = [_start(ways, int(n), int(p)) for n, p in zip(numbers, pieces, strict=True)]
        yield Crossings(
            start=torch.stack(start).to(device),
            end=torch.from_numpy(ways.points[numbers, pieces]).float().to(device),
            piece=torch.from_numpy(pieces).to(device),
            condition=torch.from_numpy(plan.rows[numbers]).to(device),
        )


def _start(ways: Ways, number: int, piece: int) -> torch.Tensor:
    """Where a piece begins, (channel, height, width): at the noise, or where the one before ends."""
    if piece == 0:
        return starting_noise(ways.shape, seed=ways.plan.seed, numbers=[number])[0]
    return torch.from_numpy(ways.points[number, piece - 1]).float()


def _make(folder: Path, shape: tuple[int, ...], digest: str) -> None:
    """An empty store; the progress comes last, so that half a one is begun anew."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = int(np.prod(shape)) * 2, shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoom(folder, needed, free)
    np.lib.format.open_memmap(folder / POINTS, mode="w+", dtype=np.float16, shape=shape)
    _note(folder, digest, 0)


def _note(folder: Path, digest: str, num_done: int) -> None:
    """Write how far the store is, atomically."""
    content = json.dumps({"digest": digest, "num_done": num_done})
    write_file(folder / PROGRESS, content.encode())
