"""The guides, typed from top to bottom: a coordinator and a hospital that begin with nothing, and every command's outcome."""

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from federation.processes import flower_environment, free_port

ROOT = Path(__file__).parents[1]
Fedcxr = Callable[..., tuple[int, str, str]]
STUDY = {
    "name": "guided",
    "seed": 7,
    "model": {"size": "tiny", "image_size": 32},
    "rounds": {"num_sites": 1, "min_sites": 1, "retry_seconds": 0.2},
    "stages": [
        {
            "kind": "full",
            "num_rounds": 1,
            "local": {"local_steps": 2, "batch_size": 4, "learning_rate": 1.0e-3},
        }
    ],
}
OPEN_POLICY = {"max_sample_rate": 1.0, "only_private": False, "kinds": ["full"]}
"""What the data-protection officer lets happen to phantoms."""
MAY_FIND_SOMETHING = ("coordinator doctor", "doctor")
"""What may have exit code 1: a machine for tests is not in order as a hospital's is."""


def blocks(name: str) -> list[list[str]]:
    """The commands of a guide that stand in lines of their own, block by block, in order."""
    found: list[list[str]] = [[]]
    for line in (ROOT / "docs" / name).read_text().splitlines():
        if line.startswith("    fedcxr "):
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


@dataclass(kw_only=True)
class Reader:
    """Somebody who types what a guide says, in a folder, with what the guide leaves open filled in."""

    folder: Path
    type_command: Fedcxr
    change_folder: Callable[[Path], None]
    open: dict[str, str]
    """Word of the guide -> what is typed in its place."""
    stack: ExitStack
    environment: dict[str, str]
    """What systemd sets for a service."""
    typed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def read(self, block: list[str]) -> str:
        """Type a block's commands; gives the last one's output."""
        out = ""
        for line in block:
            words = [self._filled(word) for word in shlex.split(line)[1:]]
            self.typed.append(line)
            if words[1:2] == ["up"]:
                self._start(words)
                continue
            self.change_folder(self.folder)
            code, out, err = self.type_command(*words, *self._more(words))
            allowed = {0, 1} if line.startswith(MAY_FIND_SOMETHING, len("fedcxr ")) else {0}
            assert code in allowed, f"`{line}` ended with {code}: {out}{err}"
        return out

    def until(self, condition: Callable[[], bool], *, seconds: float = 90.0) -> None:
        """Wait for what a person would wait for."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not after {seconds:.0f} s: {self.typed[-1]}"
            time.sleep(0.2)

    def told(self, *words: str) -> dict[str, Any]:
        """What a command says as JSON, whatever its exit code."""
        self.change_folder(self.folder)
        facts: dict[str, Any] = json.loads(self.type_command(*words, "--json")[1])
        return facts

    def _filled(self, word: str) -> str:
        return self.open.get(word, word.replace("/backup", str(self.folder.parent)))

    def _more(self, words: list[str]) -> tuple[str, ...]:
        """What a test on one machine types besides: a free port, small radiographs."""
        small = ("--port", self.open["8443"], "--image-size", "32")
        return small if words[:2] == ["coordinator", "init"] else ()

    def _start(self, words: list[str]) -> None:
        log = self.stack.enter_context((self.folder / "up.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=self.folder,
            env=flower_environment(self.folder / "home") | self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Systemd:
    """Hears what services say of themselves, at a socket of its own each, and reads their numbers."""

    def __init__(self, name: str) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(f"\0fedcxr-guides-{name}-{os.getpid()}")
        self._line.settimeout(0.2)
        self._port = free_port()
        self._over = threading.Event()
        self._heard: list[str] = []
        self._thread = threading.Thread(target=self._listen)
        self.environment = {
            "NOTIFY_SOCKET": f"@fedcxr-guides-{name}-{os.getpid()}",
            "WATCHDOG_USEC": "3000000",
            "FEDCXR_METRICS_PORT": str(self._port),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._line.close()

    def heard(self, line: str) -> bool:
        """Whether a service said this."""
        return any(line in each.splitlines() for each in self._heard)

    def numbers(self) -> str:
        """What Prometheus reads."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    def _listen(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._heard.append(self._line.recv(4096).decode())


def events(state: Path) -> list[dict[str, Any]]:
    """The lines of a side's log for collectors."""
    lines = (state / "logs" / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_is_typed_before_the_first_round_can_be_counted_on_one_hand_each() -> None:
    operating, hospital = blocks("operating.md"), blocks("hospital.md")
    assert [line.split()[2] for line in operating[0]] == ["init", "invite", "up"]
    assert [line.split()[2] for line in hospital[0]] == ["join", "ingest", "up"]
    assert [line.split()[2] for line in hospital[1]] == ["review", "approve"]


def join(here: Reader, there: Reader) -> None:
    """From nothing to a connected hospital, whose officer lets phantoms be used."""
    operating, hospital = blocks("operating.md"), blocks("hospital.md")
    code = re.search(r"hospital join (\S+)", here.read(operating[0][:2]))
    assert code
    here.read(operating[0][2:])
    here.until(lambda: bool(here.told("coordinator", "status")["up"]))
    there.open["CODE"] = code[1]
    there.read(hospital[0][:1])
    policy = yaml.safe_load((there.folder / "policy.yaml").read_text())
    (there.folder / "policy.yaml").write_text(yaml.safe_dump(policy | OPEN_POLICY))
    there.read(hospital[0][1:])
    there.until(lambda: there.told("hospital", "status")["state"] == "registered")
    assert "st-mary" in here.read(operating[1])


def train(here: Reader, there: Reader) -> None:
    """A study from its start to its end, approved in between."""
    there.until(lambda: bool(there.told("hospital", "plans")["plans"]))
    (plan,) = there.told("hospital", "plans")["plans"]
    there.open["DIGEST"] = plan["digest"]
    there.read(blocks("hospital.md")[1])

    def finished() -> bool:
        (study,) = here.told("coordinator", "status")["studies"]
        return bool(study["state"] == "finished")

    here.until(finished)
    (model,) = (here.folder / "fedcxr-state").glob("studies/*/model")
    there.open["MODEL"] = str(model)


def read_on(here: Reader, there: Reader) -> None:
    """Everything else, guide after guide; what shuts the hospital out comes last."""
    operating, security = blocks("operating.md"), blocks("security.md")
    for block in operating[2:-1]:
        here.read(block)
    for block in blocks("hospital.md")[2:]:
        there.read(block)
    here.read(security[0])
    there.read(security[1])
    here.read(operating[-1])
    there.read(security[-1][:-1])
    here.open["NAME"] = "st-mary"
    here.read(security[-1][-1:])


@pytest.mark.slow
@pytest.mark.federation
def test_every_command_of_the_guides_does_what_the_guide_says_in_the_guides_order(
    tmp_path: Path, fedcxr: Fedcxr, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fedcxr("phantom", tmp_path / "data", "--sites", 1, "--records", 24, "--image-size", 64)
    (data,) = (tmp_path / "data").glob("*/dicom")
    words = {"fl.example.org": "localhost", "8443": str(free_port()), "/srv/dicom": str(data)}
    words["NAME"] = "guided"
    managers = [stack.enter_context(Systemd(name)) for name in ("coordinator", "hospital")]
    here, there = (
        Reader(
            folder=tmp_path / name,
            type_command=fedcxr,
            change_folder=monkeypatch.chdir,
            open=words,
            stack=stack,
            environment=manager.environment,
        )
        for name, manager in zip(("coordinator", "hospital"), managers, strict=True)
    )
    (here.folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    started = time.monotonic()
    join(here, there)
    train(here, there)
    assert time.monotonic() - started < 900, "a hospital joins in a quarter of an hour"

    assert managers[0].heard("READY=1")
    assert managers[1].heard("STATUS=registered")
    assert all(manager.heard("WATCHDOG=1") for manager in managers)
    assert 'fedcxr_study_round{study="guided"} 1.0' in managers[0].numbers()
    assert 'fedcxr_node_status{status="registered"} 1.0' in managers[1].numbers()
    assert any("round 1" in line["event"] for line in events(here.folder / "fedcxr-state"))

    read_on(here, there)
    assert managers[1].heard("STOPPING=1")
    members = here.told("coordinator", "roster")["hospitals"]
    assert not [row for row in members if row["state"] == "member"]
    guides = [*blocks("operating.md"), *blocks("hospital.md"), *blocks("security.md")]
    assert len(here.typed) + len(there.typed) == sum(map(len, guides))
