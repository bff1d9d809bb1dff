# ruff: noqa: INP001  started as a script, beside the shell script that prepares for it
"""Checks of the running compose project: it is sealed, and a study outlives the loss of a hospital.

Needs Python 3.11 or newer and nothing else. `compose_test.sh` starts the project, runs this, and takes it down.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations
from typing import TypedDict

logger = logging.getLogger("compose")

HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
SERVICES = ("coordinator", *HOSPITALS)
LOST = "hospital-c"
"""The hospital whose container is stopped in the middle of the study."""
HEALTH_SECONDS = 240.0
ROUND_SECONDS = 240.0
STUDY_SECONDS = 600.0
POLL_SECONDS = 2.0
PUBLIC_PORT = 8443
PROBE_PORT = 9999
LISTEN = (
    f"import socket; server = socket.create_server(('0.0.0.0', {PROBE_PORT})); server.settimeout(600)\n"
    "while True: server.accept()[0].close()"
)
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4)"
RUN = "fedcxr coordinator run /etc/fedcxr/study.yaml --state /state --json"
PLANS = "fedcxr hospital plans --json"
APPROVE = "fedcxr hospital approve"
STATUS = "fedcxr coordinator status --state /state --json"


class Part(TypedDict):
    """A hospital's part in a round, as `coordinator status --json` tells it."""

    number: int
    site: str
    state: str


class Round(TypedDict):
    """A committed round."""

    number: int
    num_sites: int


class Study(TypedDict):
    """One study at the coordinator."""

    state: str
    rounds: list[Round]
    parts: list[Part]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One sentence about the system, and whether it holds."""

    sentence: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """The running compose project."""

    compose: tuple[str, ...]
    """The compose command with the project's name, such as ``docker-compose -p NAME``."""

    def container(self, service: str) -> str:
        """Id of a service's container; it stays the same when the container is stopped and started."""
        return _container(self.compose, service)

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return _run("docker", "exec", self.container(service), *command)

    def inspect(self, service: str, template: str) -> str:
        """One fact about a container, chosen by a template of ``docker inspect``."""
        done = _run("docker", "inspect", "--format", template, self.container(service))
        return done.stdout.strip()

    def study(self) -> Study | None:
        """The coordinator's word on the study; None before it exists or while nobody answers."""
        done = self.inside("coordinator", *STATUS.split())
        studies = json.loads(done.stdout)["studies"] if done.returncode == 0 else []
        return studies[0] if studies else None


def main() -> int:
    """Run all checks in order and print them as a table; 0 if every one holds."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    project = Project(tuple(sys.argv[1:]))
    checks: list[Check] = []
    for group in (all_healthy, confined, apart, survives):
        checks += group(project)
        if not all(check.holds for check in checks):
            break
    for check in checks:
        mark = "ok  " if check.holds else "FAIL"
        logger.info("%s  %-62s %s", mark, check.sentence, check.detail)
    return 0 if checks and all(check.holds for check in checks) else 1


def all_healthy(project: Project) -> Iterable[Check]:
    """Every service reaches the state its health check stands for."""
    started = time.monotonic()

    def health() -> dict[str, str]:
        return {name: project.inspect(name, "{{.State.Health.Status}}") for name in SERVICES}

    healthy = _wait(lambda: set(health().values()) == {"healthy"}, HEALTH_SECONDS)
    detail = f"after {time.monotonic() - started:.0f} s" if healthy else str(health())
    yield Check(
        sentence="coordinator ready, three hospitals registered", holds=healthy, detail=detail
    )


def confined(project: Project) -> Iterable[Check]:
    """No container runs as root, has a capability, or can write outside its own folders."""
    for service in SERVICES:
        status = dict(
            line.split(":", 1)
            for line in project.inside(service, "cat", "/proc/1/status").stdout.splitlines()
        )
        users, capabilities = status["Uid"].split(), int(status["CapBnd"], 16)
        sealed = "0" not in users and capabilities == 0 and status["NoNewPrivs"].strip() == "1"
        yield Check(
            sentence=f"{service} has no root, no capability, no way to gain one", holds=sealed
        )
        mounted = ("/data", "/authority") if service in HOSPITALS else ("/roster/hospital-a",)
        places = ("/", "/opt/fedcxr", *mounted)
        closed = all(_refuses_writing(project, service, place) for place in places)
        yield Check(sentence=f"{service} cannot write to {' '.join(places)}", holds=closed)


def apart(project: Project) -> Iterable[Check]:
    """Coordinator and hospitals can open connections to each other; no hospital can to another."""
    address = {
        name: project.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        for name in HOSPITALS
    }
    for name in HOSPITALS:
        _run("docker", "exec", "--detach", project.container(name), "python", "-c", LISTEN)

    def connects(source: str, target: str, port: int = PROBE_PORT) -> bool:
        return project.inside(source, "python", "-c", CONNECT, target, str(port)).returncode == 0

    reached = [_wait(partial(connects, "coordinator", address[name]), 30.0) for name in HOSPITALS]
    reached += [connects(name, "coordinator", PUBLIC_PORT) for name in HOSPITALS]
    yield Check(sentence="coordinator and each hospital reach one another", holds=all(reached))
    pairs = list(permutations(HOSPITALS, 2))
    with ThreadPoolExecutor(len(pairs)) as pool:
        by_address = list(pool.map(lambda pair: connects(pair[0], address[pair[1]]), pairs))
        by_name = list(pool.map(lambda pair: connects(*pair), pairs))
    yield Check(
        sentence="no hospital can open a connection to another",
        holds=not any(by_address + by_name),
        detail=f"{len(pairs)} pairs, by address and by name",
    )
    networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    names = [network for name in HOSPITALS for network in project.inspect(name, networks).split()]
    internal = _run("docker", "network", "inspect", "--format", "{{.Internal}}", *names)
    yield Check(
        sentence="each hospital has one network of its own, and none leads out",
        holds=len(names) == len(set(names)) == len(HOSPITALS)
        and set(internal.stdout.split()) == {"true"},
    )


def survives(project: Project) -> Iterable[Check]:
    """Run the study, stop a hospital in the middle, start it again, and look at what came of it."""
    arguments = ("docker", "exec", project.container("coordinator"), *RUN.split())
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as run:
        try:
            for name in HOSPITALS:
                _approve(project, name)
            lost_in = _lose_hospital(project)
            output, _ = run.communicate(timeout=STUDY_SECONDS)
        except (TimeoutError, subprocess.TimeoutExpired) as err:
            run.kill()
            yield Check(sentence="the study completes", holds=False, detail=str(err))
            return
    yield Check(sentence="each hospital trained after a person approved its plan", holds=True)
    study = project.study()
    if run.returncode != 0 or study is None:
        yield Check(
            sentence="the study completes", holds=False, detail=f"exit code {run.returncode}"
        )
        return
    yield from _judge(study, lost_in)
    model = f"{json.loads(output.splitlines()[-1])['model']}/model.safetensors"
    size = project.inside("coordinator", "stat", "--format", "%s", model).stdout.strip()
    yield Check(
        sentence="the coordinator keeps the model",
        holds=int(size or 0) > 10**6,
        detail=f"{size} bytes",
    )


def _approve(project: Project, hospital: str) -> None:
    """Agree to the plan that arrives, as a person at the hospital would.

    Raises:
        TimeoutError: if none arrives, or the hospital does not let it be approved.
    """

    def waiting() -> str:
        done = project.inside(hospital, *PLANS.split())
        plans = json.loads(done.stdout)["plans"] if done.returncode == 0 else []
        return str(plans[0]["digest"]) if plans else ""

    if not _wait(lambda: bool(waiting()), ROUND_SECONDS):
        raise TimeoutError(f"no plan arrived at {hospital}")
    done = project.inside(hospital, *APPROVE.split(), waiting(), "--name", "Compose Test")
    if done.returncode != 0:
        raise TimeoutError(f"{hospital} does not approve the plan: {done.stderr.strip()}")


def _lose_hospital(project: Project) -> int:
    """Stop a hospital that is at work until its round has closed without it; the number of that round.

    Raises:
        TimeoutError: if the study does not get that far.
    """

    def asked() -> int:
        study = project.study()
        parts = study["parts"] if study else []
        mine = [
            part["number"] for part in parts if (part["site"], part["state"]) == (LOST, "asked")
        ]
        return max(mine, default=0)

    def committed() -> int:
        study = project.study()
        return max((each["number"] for each in study["rounds"]), default=0) if study else 0

    if not _wait(lambda: asked() >= 2, ROUND_SECONDS):
        raise TimeoutError("round 2 did not begin in time")
    number = committed() + 1
    logger.info("round %d: stopping %s", number, LOST)
    _run("docker", "stop", "--time", "20", project.container(LOST))
    if not _wait(lambda: committed() >= number, ROUND_SECONDS):
        raise TimeoutError(f"round {number} was not committed without {LOST} in time")
    logger.info("round %d: committed; starting %s again", number, LOST)
    _run("docker", "start", project.container(LOST))
    return number


def _judge(study: Study, lost_in: int) -> Iterable[Check]:
    sites = {each["number"]: each["num_sites"] for each in study["rounds"]}
    yield Check(
        sentence="the study completes",
        holds=study["state"] == "finished",
        detail=f"hospitals per round: {list(sites.values())}",
    )
    yield Check(
        sentence=f"round {lost_in} is committed by the quorum while {LOST} is stopped",
        holds=sites[lost_in] == len(HOSPITALS) - 1,
    )
    later = [
        part["number"]
        for part in study["parts"]
        if part["site"] == LOST and part["state"] == "admitted" and part["number"] > lost_in
    ]
    yield Check(
        sentence=f"{LOST}, started again, contributes again",
        holds=bool(later),
        detail=f"rounds {later}",
    )


def _refuses_writing(project: Project, service: str, place: str) -> bool:
    done = project.inside(service, "touch", f"{place}/probe")
    return done.returncode != 0 and "Read-only file system" in done.stderr


def _wait(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@cache
def _container(compose: tuple[str, ...], service: str) -> str:
    return _run(*compose, "ps", "--quiet", service).stdout.strip()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
