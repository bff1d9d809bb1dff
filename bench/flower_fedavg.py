"""One round of Flower's own FedAvg beside one of ours: as many bytes, as many sites, one machine, one run.

    python bench/flower_fedavg.py [--size base] [--sites 2] [--repeats 3] [--folder FOLDER]

Flower runs as it is shipped: SuperLink, SuperNodes and an app (bench/flower_app) around ``FedAvg.start``, over TLS and
with keys of nodes. Its clients answer at once with generated weights; ours do with a generated change. Both rounds
last from the first question until the next weights are there: in memory with Flower, on the disk with ours. Memory is
the coordinator's alone while the round lasts, the peak of the sum over all its processes: with Flower SuperLink,
SuperExec and ServerApp, with ours these three, the supervisor and the gateway.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rounds import (
    GIGABYTE,
    IMAGE_SIZES,
    PAUSE_SECONDS,
    Memory,
    federation,
    make_ready,
    moving_shapes,
    study_of,
)

from federation.bundle import bundle_bytes, bundle_digest
from federation.certificates import Certificate, issue_certificate, make_authority
from federation.node_keys import make_node_key, read_public_key
from federation.processes import Program, Supervisor, flower_environment, free_port
from model.tensors import Shapes, num_values
from server.control import ControlRefused, open_control
from server.store import StudyStore
from server.watch import want
from simulation.layout import Layout

APP = Path(__file__).parent / "flower_app"
COORDINATOR = "coordinator"
START_SECONDS = 60.0
NO_CAP = 1e15
"""Bytes of scratch; the coordinator's default has no cap either."""


class RoundFailed(RuntimeError):
    """One of the two did not finish its round: its logs are in the folder, which goes when this ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One round at the coordinator."""

    seconds: float
    resident: int
    """Peak of the sum over its processes, in bytes."""
    proportional: int
    """The same with every shared page counted once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowerFederation:
    """Flower's programs in a folder of their own."""

    folder: Path
    num_sites: int
    tls: Certificate
    supervisor: Supervisor
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        """Start the SuperLink, admit the nodes' keys, start the nodes."""
        arguments = (
            *("flower-superlink", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--ssl-ca-certfile", str(self.tls.ca_path)),
            *("--ssl-certfile", str(self.tls.cert_path), "--ssl-keyfile", str(self.tls.key_path)),
            *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        )
        self.supervisor.start("superlink", self._program("superlink", arguments))
        for number in range(1, self.num_sites + 1):
            self._start_node(f"site-{number:02d}")

    def run_round(self, shapes: Shapes) -> Measured:
        """Submit the app and watch its round."""
        began, result = self.folder / "began", self.folder / "seconds"
        words = {
            "shapes": json.dumps(shapes),
            "sites": str(self.num_sites),
            "began": str(began),
            "result": str(result),
        }
        paths = sorted([*APP.glob("*.toml"), *APP.glob("*/*.py")])
        files = {path.relative_to(APP).as_posix(): path.read_bytes() for path in paths}
        with open_control(self.port, self.tls.ca_path) as control:
            run = control.start_run(bundle_bytes(files), bundle_digest(files), words)

            def has_failed() -> bool:
                return control.run_status(run).startswith("finished")

            wait_for(began.exists, has_failed)
            with Memory(roots={COORDINATOR: pid_of(self.supervisor, "superlink")}) as memory:
                wait_for(result.exists, has_failed)
        return measured(memory, float(result.read_text()))

    def _start_node(self, name: str) -> None:
        key = make_node_key(self.folder / name, name)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with open_control(self.port, self.tls.ca_path) as control:
                    control.register(name, read_public_key(key.public_path))
                break
            except ControlRefused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)
        arguments = (
            *("flower-supernode", "--superlink", f"127.0.0.1:{self.port}"),
            *("--root-certificates", str(self.tls.ca_path)),
            *("--auth-supernode-private-key", str(key.private_path)),
            *("--host", "127.0.0.1", "--port", str(free_port())),
        )
        self.supervisor.start(name, self._program(name, arguments))

    def _program(self, name: str, arguments: tuple[str, ...]) -> Program:
        return Program(
            arguments=arguments,
            environment=flower_environment(self.folder / name / "flower"),
            folder=self.folder / name,
            log_path=self.folder / f"{name}.log",
        )


def measure_flower(folder: Path, num_sites: int, *, size: str) -> Measured:
    """One round of FedAvg."""
    tls = issue_certificate(folder / "tls", make_authority(folder / "tls"), ("127.0.0.1",))
    with Supervisor() as supervisor:
        flower = FlowerFederation(
            folder=folder, num_sites=num_sites, tls=tls, supervisor=supervisor
        )
        flower.start()
        return flower.run_round(moving_shapes(size, None))


def measure_ours(folder: Path, num_sites: int, *, size: str) -> Measured:
    """One round of ours."""
    layout, study = Layout(folder / "out"), study_of(num_sites, size=size, rank=None)
    names = [f"site-{number:02d}" for number in range(1, num_sites + 1)]
    ready = make_ready(folder / "ready", names, moving_shapes(size, None), shared=True)
    with federation(layout, names, max_scratch=NO_CAP, ready=ready) as supervisor:
        store = StudyStore.create(layout.coordinator, study)
        want(store)

        def has_failed() -> bool:
            return bool(store.fact("stopped"))

        wait_for(lambda: bool(store.parts()), has_failed)
        with Memory(roots={COORDINATOR: pid_of(supervisor, COORDINATOR)}) as memory:
            wait_for(lambda: bool(store.rounds()), has_failed)
        return measured(memory, store.rounds()[0].seconds)


def wait_for(is_there: Callable[[], bool], has_failed: Callable[[], bool]) -> None:
    """Wait until something has happened.

    Raises:
        RoundFailed: if it cannot happen any more.
    """
    while not is_there():
        if has_failed() and not is_there():
            raise RoundFailed
        time.sleep(PAUSE_SECONDS)


def pid_of(supervisor: Supervisor, name: str) -> int:
    """Of a program that runs."""
    pid = supervisor.states()[name].pid
    if pid is None:
        raise RoundFailed
    return pid


def measured(memory: Memory, seconds: float) -> Measured:
    """What was seen of a round."""
    return Measured(
        seconds=seconds,
        resident=memory.resident[COORDINATOR],
        proportional=memory.proportional[COORDINATOR],
    )


def table(pairs: Sequence[tuple[Measured, Measured]]) -> str:
    """A line for every repeat, one for the medians, one for the smallest ratios."""
    lines = [
        "repeat    seconds: Flower    ours  ratio    RSS GB: Flower  ours  ratio    PSS GB: Flower  ours  ratio"
    ]
    medians = tuple(_median(side) for side in zip(*pairs, strict=True))
    for name, (theirs, ours) in [*enumerate(pairs, 1), ("median", medians)]:
        lines.append(
            f"{name!s:>6}  {theirs.seconds:16.1f}  {ours.seconds:6.1f}  {theirs.seconds / ours.seconds:5.2f}"
            + _memory(theirs.resident, ours.resident)
            + _memory(theirs.proportional, ours.proportional)
        )
    return "\n".join(lines)


def _memory(theirs: int, ours: int) -> str:
    return f"  {theirs / GIGABYTE:16.2f}  {ours / GIGABYTE:4.2f}  {theirs / ours:5.2f}"


def _median(side: Sequence[Measured]) -> Measured:
    return Measured(
        seconds=statistics.median(each.seconds for each in side),
        resident=round(statistics.median(each.resident for each in side)),
        proportional=round(statistics.median(each.proportional for each in side)),
    )


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", default="base", choices=IMAGE_SIZES)
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    megabytes = 4 * num_values(moving_shapes(options.size, None)) / 1e6
    pairs: list[tuple[Measured, Measured]] = []
    for _ in range(options.repeats):
        pair = []
        for run in (measure_flower, measure_ours):
            with tempfile.TemporaryDirectory(dir=options.folder, prefix="flower-fedavg-") as name:
                pair.append(run(Path(name), options.sites, size=options.size))
        pairs.append((pair[0], pair[1]))
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        print(
            f"{megabytes:.0f} MB x {options.sites} sites, load {load}\n{table(pairs)}", flush=True
        )


if __name__ == "__main__":
    main()
