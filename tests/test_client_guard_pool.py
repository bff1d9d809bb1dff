"""Whatever happens to a process that reads a file, every file has one outcome and the rest goes on."""

import itertools
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.dicom.outcome import Flag, Identity, Outcome, Radiograph, Report
from client.dicom.policy import ReadPolicy
from client.dicom.reader import read_file
from client.dicom.rejection import Reason, Rejection
from client.guard import pool, worker
from client.guard.answer import NoOutcome, pack, unpack
from client.guard.pool import DEFAULT_LIMITS, ReaderKilled, read_all
from client.guard.process import Limits
from model.conditioning import Metadata
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph

POLICY = ReadPolicy()
SIZE = 32
BRIEF = Limits(max_seconds=1.0)
SMALL = Limits(max_bytes=2**29)
NOBODY = Identity(instance_uid="", study_uid="", accession="", patient_id="", issuer="")
READ_FOR_EVER = """
import sys
from pathlib import Path
from client.dicom.policy import ReadPolicy
from client.guard.pool import read_all
from tests.test_client_guard_pool import obey
print("started", flush=True)
jobs = enumerate(map(Path, sys.argv[1:]))
for _, outcome in read_all(jobs, image_size=32, policy=ReadPolicy(), num_workers=2, read=obey):
    print(*outcome.statements, flush=True)
"""


def obey(path: Path, *, image_size: int, policy: ReadPolicy) -> Outcome:
    """Stands in for the reader, in a worker: does what the file says."""
    del image_size, policy
    command, *details = path.read_text().split()
    answer = _COMMANDS[command](*details)
    return cast("Report | None", answer) or Report(identity=NOBODY, statements=(str(os.getpid()),))


def _raise_signal(number: str) -> None:
    signal.raise_signal(signal.Signals(int(number)))


def _hang() -> None:
    while True:
        pass


def _eat() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(2**24))


def _await(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def _chatter(name: str) -> None:
    os.write(1, name.encode())
    os.write(2, name.encode())


def _check() -> None:
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def _write(path: str) -> None:
    Path(path).write_text("not to be kept")


_COMMANDS: dict[str, Callable[..., object]] = {
    "report": lambda: None,
    "check": _check,
    "lie": lambda: {"not": "an outcome"},
    "signal": _raise_signal,
    "hang": _hang,
    "eat": _eat,
    "await": _await,
    "chatter": _chatter,
    "write": _write,
}
REPORT, SEGFAULT, KILLED = "report", f"signal {signal.SIGSEGV}", f"signal {signal.SIGKILL}"


Outcomes = Generator[tuple[str, Outcome], None, None]
Run = Callable[..., Outcomes]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Has two workers obey one file for each command; the command tells the job."""

    def start(*commands: str, limits: Limits = DEFAULT_LIMITS, num_workers: int = 2) -> Outcomes:
        return read_all(
            files_of(tmp_path, *commands),
            image_size=SIZE,
            policy=POLICY,
            num_workers=num_workers,
            limits=limits,
            read=obey,
        )

    return start


def files_of(folder: Path, *commands: str) -> Iterator[tuple[str, Path]]:
    for number, command in enumerate(commands):
        path = folder / f"job{number}"
        path.write_text(command)
        yield command, path


def worker_of(outcome: Outcome) -> psutil.Process:
    assert isinstance(outcome, Report), outcome
    return psutil.Process(int(outcome.statements[0]))


def eventually(condition: Callable[[], bool], *, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def noise(seed: int = 1) -> FileDataset:
    machine = Machine(
        modality="DX", manufacturer="AGFA", institution="SYN-A", bits=8, photometric="MONOCHROME2"
    )
    taken = datetime(2024, 1, 1, tzinfo=UTC)
    study = Study(patient_id="SYN1", number=seed, sex="F", age=60, view="PA", taken=taken)
    return build_radiograph(np.random.default_rng(seed).random((64, 64)), machine, study)


def write_noise(path: Path, *, seed: int = 1) -> Path:
    write_radiograph(path, noise(seed))
    return path


def test_workers_say_what_the_reader_says_of_every_file(tmp_path: Path) -> None:
    files = [write_noise(tmp_path / f"{seed}.dcm", seed=seed) for seed in range(12)]
    files += [tmp_path / "missing", tmp_path]
    found = dict(read_all(enumerate(files), image_size=SIZE, policy=POLICY, num_workers=2))
    assert sorted(found) == list(range(14))
    for number, file in enumerate(files):
        assert pack(found[number]) == pack(read_file(file, image_size=SIZE, policy=POLICY))
    assert Counter(type(outcome) for outcome in found.values()) == {Radiograph: 12, Rejection: 2}


def test_a_file_that_kills_its_reader_is_refused_and_the_rest_goes_on(run: Run) -> None:
    commands = [REPORT, SEGFAULT, REPORT, KILLED, REPORT, "eat", REPORT, "unheard-of", REPORT]
    found = list(run(*commands, limits=SMALL))
    assert Counter(command for command, _ in found) == Counter(commands)
    for command, outcome in found:
        if command == REPORT:
            assert isinstance(outcome, Report)
        else:
            assert outcome == Rejection(reason=Reason.READER_DIED)


def test_a_file_that_hangs_is_given_up_and_the_rest_goes_on(run: Run) -> None:
    found = list(run("hang", *[REPORT] * 6, "hang", limits=BRIEF))
    refused = [outcome for command, outcome in found if command == "hang"]
    assert refused == [Rejection(reason=Reason.TOO_SLOW)] * 2
    assert sum(isinstance(outcome, Report) for _, outcome in found) == 6


def test_whoever_takes_outcomes_slowly_makes_no_file_late(run: Run, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    outcomes = run(f"await {flag}", REPORT, REPORT, limits=BRIEF)
    first = next(outcomes)
    flag.touch()
    time.sleep(1.5 * BRIEF.max_seconds)  # the awaiting one finishes long before, and nobody listens
    assert all(isinstance(outcome, Report) for _, outcome in (first, *outcomes))


def test_a_file_that_needs_more_memory_than_there_is_is_refused_without_a_death(
    tmp_path: Path,
) -> None:
    huge, bomb = noise(), tmp_path / "bomb"
    huge.Rows = huge.Columns = 7680
    huge.PixelData = bytes(range(256)) * 30 * 7680
    write_radiograph(bomb, huge, transfer_syntax=DeflatedExplicitVRLittleEndian)
    whole = write_noise(tmp_path / "whole")
    assert bomb.stat().st_size < 2**21
    ((_, refused), (_, read)) = read_all(
        enumerate([bomb, whole]), image_size=SIZE, policy=POLICY, num_workers=1, limits=SMALL
    )
    assert isinstance(refused, Rejection)
    assert refused.reason not in {Reason.READER_DIED, Reason.TOO_SLOW}
    assert isinstance(read, Radiograph)


@pytest.mark.parametrize("victims", ["workers", "server"])
def test_processes_killed_from_outside_cost_no_file(run: Run, tmp_path: Path, victims: str) -> None:
    flag = tmp_path / "flag"
    outcomes = run(f"await {flag}", REPORT, REPORT)
    _, first = next(outcomes)
    server = worker_of(first).parent()
    assert server is not None
    for victim in server.children() if victims == "workers" else [server]:
        victim.kill()
    flag.touch()
    rest = [outcome for _, outcome in outcomes]
    assert len(rest) == 2
    assert all(isinstance(outcome, Report) for outcome in (first, *rest))


def test_a_machine_that_kills_every_reader_is_told_from_bad_files(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_KILLS_IN_A_ROW", 3)
    assert len(list(run(*[SEGFAULT] * 3))) == 3  # six deaths
    with pytest.raises(ReaderKilled, match="The operator frees memory"):
        list(run(*[KILLED] * 3))


def test_files_are_asked_for_when_they_are_needed_and_not_earlier(tmp_path: Path) -> None:
    asked: list[int] = []

    def jobs() -> Iterator[tuple[int, Path]]:
        for number in itertools.count():
            asked.append(number)
            path = tmp_path / str(number)
            path.write_text(REPORT)
            yield number, path

    outcomes = read_all(jobs(), image_size=SIZE, policy=POLICY, num_workers=2, read=obey)
    with closing(outcomes):
        server = worker_of(next(outcomes)[1]).parent()
        for num_taken, (number, _) in enumerate(itertools.islice(outcomes, 50), start=2):
            (tmp_path / str(number)).unlink()
            assert len(asked) <= num_taken + 2 * worker.LOOK_AHEAD
    assert server is not None
    assert server.children() == []


def test_workers_are_retired_before_leaks_add_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_FILES", 3)
    found = [worker_of(outcome).pid for _, outcome in run(*[REPORT] * 10, num_workers=1)]
    assert sorted(Counter(found).values()) == [1, 3, 3, 3]


def test_a_worker_can_neither_talk_nor_write_nor_dump_nor_be_interrupted(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    found = dict(run("chatter SYN1", f"write {target}", "check"))
    assert isinstance(found["chatter SYN1"], Report)
    assert found[f"write {target}"] == Rejection(reason=Reason.READER_DIED)
    assert target.read_bytes() == b""
    assert isinstance(found["check"], Report)
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_is_no_outcome_counts_as_a_death(run: Run) -> None:
    assert dict(run("lie", REPORT))["lie"] == Rejection(reason=Reason.READER_DIED)


IDENTITY = Identity(
    instance_uid="1.2", study_uid="1", accession="A", patient_id="P\udc80", issuer="I"
)
METADATA = Metadata(
    age=41.5,
    sex="F",
    view="PA",
    race=None,
    site=None,
    manufacturer=3,
    findings={"edema": "present"},
)
RADIOGRAPH = Radiograph(
    image=np.arange(SIZE**2, dtype=np.uint16).reshape(SIZE, SIZE),
    metadata=METADATA,
    identity=IDENTITY,
    pixel_digest=b"digest",
    flags=frozenset({Flag.RAW, Flag.LOSSY}),
)


@pytest.mark.parametrize(
    "outcome",
    [
        RADIOGRAPH,
        Report(identity=IDENTITY, statements=("No effusion.",)),
        Rejection(reason=Reason.LATERAL),
    ],
    ids=["radiograph", "report", "rejection"],
)
@pytest.mark.parametrize("python", ["this", "3.11.2"])
def test_an_outcome_leaves_a_worker_as_it_is(
    outcome: Outcome, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if python == "3.11.2":  # Debian's, whose enumerations pickle themselves as a call of getattr
        for kind in (Reason, Flag):
            monkeypatch.setattr(
                kind, "__reduce_ex__", lambda word, _: (getattr, (type(word), word.name))
            )
    found = unpack(pack(outcome), image_size=SIZE)
    assert type(found) is type(outcome)
    for name in (field.name for field in fields(outcome)):
        np.testing.assert_array_equal(getattr(found, name), getattr(outcome, name))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no pickle",
        pack(RADIOGRAPH)[:-9],
        pickle.dumps(print),
        pickle.dumps({"reason": "lateral"}),
        pack(replace(RADIOGRAPH, image=np.zeros((SIZE, SIZE + 1), np.uint16))),
        pack(replace(RADIOGRAPH, image=RADIOGRAPH.image.astype(np.int16))),
    ],
)
def test_nothing_but_an_outcome_leaves_a_worker(message: bytes) -> None:
    with pytest.raises(NoOutcome):
        unpack(message, image_size=SIZE)


def test_no_function_is_called_that_an_answer_names(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.mkdir, (tmp_path / "made",)

    with pytest.raises(NoOutcome):
        unpack(pickle.dumps(Command()), image_size=SIZE)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nobody_outlives_the_process_that_reads(tmp_path: Path, end: signal.Signals) -> None:
    """Also when Ctrl-C reaches the whole group, and from a program that guards no `__main__`."""
    script = tmp_path / "script.py"
    script.write_text(READ_FOR_EVER)
    files = [str(path) for _, path in files_of(tmp_path, REPORT, "hang", "hang")]
    with subprocess.Popen(
        [sys.executable, script, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "started\n"
        assert program.stdout.readline().strip().isdigit()
        family = psutil.Process(program.pid).children(recursive=True)
        assert len(family) == 3
        os.killpg(program.pid, end)
        said, complaints = program.communicate()
    assert said == ""
    assert complaints.endswith("KeyboardInterrupt\n" if end is signal.SIGINT else "")
    assert eventually(lambda: not any(is_running(process) for process in family))


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_limits_that_no_file_could_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        Limits(max_bytes=2**20)
    with pytest.raises(ValueError, match="more than 0 seconds"):
        Limits(max_seconds=0.0)
