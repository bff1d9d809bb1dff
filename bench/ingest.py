"""How fast, and in how much memory, files become a cache, and what the cache costs a training step.

`python bench/ingest.py --files 32` prints, from one run: images a second of an ingest against those of the plain
loop over pydicom (with its gdcm plugin), apply_modality_lut, apply_voi_lut and PIL on the same files with as many
processes; the memory of an ingest with two workers; and the share of a `tiny` training step that goes into its
batch, plain and encrypted. Each line ends with its bar, and whether it is met.
"""

import argparse
import contextlib
import secrets
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from model_step import training_step
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from rates import median_seconds

from client.cache.records import open_cache_of
from client.config import SiteConfig, load_site
from client.guard.pool import usable_cpus
from client.intake.ingest import ingest
from model.conditioning import Schema
from model.config import model_config
from model.initial import initial_network
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph
from simulation.phantom import Phantom
from simulation.style import STYLES

MIN_RATIO = 1.5
MAX_BYTES = 10**9
MAX_SHARE = 0.05
BATCH = 8
NUM_BATCHES = 50
SHORTEST_SECONDS = 1e-3
RENDERED_SIZE = 256
GRAIN = 0.004
"""Standard deviation of a detector's noise, as a share of full brightness."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Files that a machine and an archive leave."""

    side: int
    bits: int
    syntax: UID
    share: float = 0.0
    """Of the mix."""

    def __str__(self) -> str:
        return f"{self.side} x {self.side}, {self.bits} bit, {self.syntax.name.split(',')[0]}"


KINDS = (
    Kind(side=2048, bits=12, syntax=ExplicitVRLittleEndian, share=0.3),
    Kind(side=3000, bits=14, syntax=ExplicitVRLittleEndian, share=0.2),
    Kind(side=2048, bits=12, syntax=RLELossless, share=0.1),
    Kind(side=3000, bits=14, syntax=JPEGLosslessSV1, share=0.2),
    Kind(side=2048, bits=12, syntax=JPEGLSLossless, share=0.1),
    Kind(side=2048, bits=14, syntax=JPEG2000Lossless, share=0.1),
)
SMALL = Kind(side=256, bits=12, syntax=ExplicitVRLittleEndian)


def write_files(folder: Path, kind: Kind, num_files: int) -> list[Path]:
    """Write radiographs of as many patients: half inverted, two in five with a table instead of a window."""
    folder.mkdir(parents=True)
    phantom, rng = Phantom(RENDERED_SIZE), np.random.default_rng(kind.side)
    paths = []
    for number in range(num_files):
        machine = Machine(
            modality="DX",
            manufacturer="SIEMENS",
            institution="SYN-bench",
            bits=kind.bits,
            photometric="MONOCHROME1" if number % 2 else "MONOCHROME2",
            values_of_interest="table" if number % 5 < 2 else "window",
        )
        study = Study(
            patient_id=f"SYN{number}",
            number=1,
            sex="FM"[number % 2],
            age=30 + number % 50,
            view="PA",
            taken=datetime(2020, 1, 1, tzinfo=UTC),
        )
        brightness = grainy(phantom, study, number, kind.side, rng)
        paths.append(folder / f"{number}.dcm")
        radiograph = build_radiograph(brightness, machine, study)
        write_radiograph(paths[-1], radiograph, transfer_syntax=kind.syntax)
    return paths


def grainy(
    phantom: Phantom, study: Study, number: int, side: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A phantom enlarged to a detector's size, with a detector's noise, which is what compression fights."""
    small = phantom.render(
        findings=frozenset(),
        patient_seed=number,
        study_seed=0,
        sex=study.sex,
        age=study.age,
        view=study.view,
        style=list(STYLES.values())[number % len(STYLES)],
    )
    picture = Image.fromarray(small.astype(np.float32)).resize((side, side))
    noise = GRAIN * rng.standard_normal((side, side), np.float32)
    return np.asarray(np.clip(np.asarray(picture) + noise, 0.0, 1.0), np.float32)


def read_plainly(path: Path, *, image_size: int) -> None:
    """What a careful user of pydicom writes: decode, both tables, invert, scale, resize, save."""
    header = dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
    shown = shown.astype(np.float32)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = shown.max() - shown
    shown = (shown - shown.min()) / max(float(np.ptp(shown)), 1e-6)
    small = Image.fromarray(shown).resize((image_size, image_size), Image.Resampling.BILINEAR)
    np.save(path.with_suffix(".npy"), (np.asarray(small) * 65535).astype(np.uint16))


def plain_seconds(paths: Sequence[Path], image_size: int, num_workers: int) -> float:
    """Seconds of the plain loop."""
    start = time.perf_counter()
    with Pool(num_workers) as pool:
        pool.map(partial(read_plainly, image_size=image_size), paths, chunksize=1)
    seconds = time.perf_counter() - start
    for path in paths:
        path.with_suffix(".npy").unlink()
    return seconds


def hospital(folder: Path, data: Path, image_size: int, *, key: str = "") -> SiteConfig:
    """A hospital with nothing in its cache yet."""
    folder.mkdir()
    profile = (
        f'site_name: a\ncoordinator: "localhost:1"\nca_path: ca.crt\ndata_path: {data.resolve()}\n'
        f"state_path: state\nimage_size: {image_size}\n"
    )
    if key:
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_text(key)
        profile += "cache_key_path: key\n"
    (folder / "site.yaml").write_text(profile)
    return load_site(folder / "site.yaml")


def our_seconds(paths: Sequence[Path], image_size: int, num_workers: int) -> float:
    """Seconds of an ingest into an empty cache, with its journal, checks and hunt for copies."""
    with TemporaryDirectory(dir=paths[0].parent.parent) as folder:
        site = hospital(Path(folder) / "site", paths[0].parent, image_size)
        start = time.perf_counter()
        done = ingest(site, num_workers=num_workers)
        seconds = time.perf_counter() - start
    if done.tally.num_usable != len(paths):
        raise RuntimeError(f"the ingest used other files than the plain loop: {done.tally}")
    return seconds


def compare_speed(
    folder: Path, kinds: Sequence[Kind], image_size: int, num_files: int, repeats: int
) -> None:
    """Print images a second of both, kind by kind and over the mix.

    What both need to start, measured on two small files, is taken off: an ingest of thousands does not notice it.
    """
    num_workers, in_all = usable_cpus(), np.zeros(2)
    measure = partial(both_seconds, image_size=image_size, num_workers=num_workers)
    few = write_files(folder / "few", SMALL, 2)
    measure(few)  # starts what further ingests of one program share
    start = np.median([measure(few) for _ in range(repeats)], axis=0)
    print(f"{num_workers} workers; started in {start[0]:.2f} s, the plain loop in {start[1]:.2f} s")
    for number, kind in enumerate(kinds):
        paths = write_files(folder / str(number), kind, num_files)
        seconds = np.array([measure(paths) for _ in range(repeats)])
        seconds = np.maximum(seconds - start, SHORTEST_SECONDS)
        shutil.rmtree(paths[0].parent)
        ours, plain = np.median(seconds, axis=0)
        in_all += kind.share * np.array([ours, plain])
        ratio = statistics.median(seconds[:, 1] / seconds[:, 0])
        text = f"{kind}: {num_files / ours:.1f} images/s, {ratio:.2f} times the plain loop's"
        verdict(text, met=ratio >= MIN_RATIO)
    ratio = in_all[1] / in_all[0]
    verdict(f"the mix of them: {ratio:.2f} times the plain loop's", met=ratio >= MIN_RATIO)


def both_seconds(
    paths: Sequence[Path], *, image_size: int, num_workers: int
) -> tuple[float, float]:
    """Seconds of an ingest and of the plain loop, one after the other, so that a busy moment hits both."""
    return (
        our_seconds(paths, image_size, num_workers),
        plain_seconds(paths, image_size, num_workers),
    )


def measure_memory(folder: Path, kind: Kind, image_size: int, num_files: int) -> None:
    """Print the most memory that `fedcxr hospital ingest --workers 2` holds, workers and all."""
    write_files(folder / "large", kind, num_files)
    hospital(folder / "large-site", folder / "large", image_size)
    profile = str(folder / "large-site" / "site.yaml")
    command = [sys.executable, "-m", "cli", "hospital", "ingest", profile, "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as program:
        peak = peak_bytes(program)
    if program.returncode:
        raise RuntimeError("the ingest whose memory is measured has failed")
    verdict(f"memory of two workers on {kind}: {peak / 1e6:.0f} MB", met=peak < MAX_BYTES)


def peak_bytes(program: subprocess.Popen[bytes]) -> int:
    """Most memory that a process and its children hold together, pages they share counted once."""
    peak = 0
    while program.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(program.pid)
            peak = max(peak, sum(map(held_bytes, [parent, *parent.children(recursive=True)])))
        time.sleep(0.01)
    return peak


def held_bytes(process: psutil.Process) -> int:
    """Its share of memory, 0 once it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def measure_loader(folder: Path, image_size: int, num_files: int) -> None:
    """Print the share of a training step that fetching its batch takes."""
    write_files(folder / "small", SMALL, num_files)
    network = initial_network(model_config("tiny", image_size), Schema(), 1)
    step = median_seconds(training_step(network, image_size, BATCH, "fp32"), 5)
    for name, key in (("plain", ""), ("encrypted", secrets.token_hex(32))):
        site = hospital(folder / name, folder / "small", image_size, key=key)
        ingest(site, num_workers=1)
        share = median_seconds(fetching(site), NUM_BATCHES) / step
        text = f"{name} cache, {image_size} px, batch {BATCH}: {100 * share:.2f} % of a tiny training step"
        verdict(text, met=share < MAX_SHARE)


def fetching(site: SiteConfig) -> Callable[[], object]:
    """Fetch another random batch at every call."""
    records, rng = open_cache_of(site), np.random.default_rng(0)
    return lambda: records.batch(rng.integers(0, len(records), BATCH))


def verdict(text: str, *, met: bool) -> None:
    """One line."""
    print(f"{text} ({'met' if met else 'NOT MET'})", flush=True)


def main() -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(description="Speed and memory of an ingest, and of its cache.")
    parser.add_argument("--files", type=int, default=32, help="files of each kind")
    parser.add_argument(
        "--repeats", type=int, default=3, help="measurements, of which the median counts"
    )
    parser.add_argument(
        "--shrink", type=int, default=1, help="divide the sides of all files by this"
    )
    parser.add_argument("--image-size", type=int, default=256, help="pixels of the cache")
    chosen = parser.parse_args()
    print(
        f"bars: speed at least {MIN_RATIO} times, memory under {MAX_BYTES / 1e6:.0f} MB, "
        f"loader under {100 * MAX_SHARE:.0f} %"
    )
    kinds = [replace(kind, side=kind.side // chosen.shrink) for kind in KINDS]
    with TemporaryDirectory() as name:
        folder = Path(name)
        compare_speed(folder, kinds, chosen.image_size, chosen.files, chosen.repeats)
        measure_memory(folder, kinds[1], chosen.image_size, chosen.files)
        measure_loader(folder, chosen.image_size, chosen.files)


if __name__ == "__main__":
    main()
