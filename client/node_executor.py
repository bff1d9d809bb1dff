"""The hospital's SuperExec: Flower's own, but a task begins as a copy of a process that has loaded everything.

Flower starts a program for every message, and loading it and this project's libraries takes seconds of
processor time. Here one process, the nursery, loads them once, before it has met anyone: it holds no
connection and no secret. For every task it forks; the copy serves one message and ends. A task's
token travels through a pipe instead of a command line that every user of the machine can read.
"""

import argparse
import importlib
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, TextIO

from client.flower_names import replace_name
from federation.bells import LOOK_SECONDS, TASKS, Bells, bells_of
from federation.processes import die_with_parent

logger = logging.getLogger("client.node_executor")

PRELOADED = ("flwr.supernode.runtime.run_clientapp", "client.app")
PRELOADED_AT_LEISURE = "client.private_training"
"""Takes as long again, and not every study is private: loaded when nobody has asked for anything for a while."""
LEISURE_SECONDS = 20.0
TASK_POLL_SECONDS = 2.0
"""Between two looks for a task where no bell rings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One message to be answered."""

    runtime_api_address: str
    token: str
    ca_path: str


def open_nursery(state_path: Path) -> TextIO:
    """Start the nursery of the hospital in this state folder; returns where tasks for it are written, one a line."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        die_with_parent()
        _end_with(lambda: _tend_nursery(reading, state_path))
    os.close(reading)
    return os.fdopen(writing, "w")


def _tend_nursery(reading: int, state_path: Path) -> None:
    """Load everything, then fork once per line until nobody is left to write."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries finished tasks
    for name in PRELOADED:
        importlib.import_module(name)
    _make_checkers()
    with os.fdopen(reading) as lines:
        if not select.select([lines], [], [], LEISURE_SECONDS)[0]:
            importlib.import_module(PRELOADED_AT_LEISURE)
        for line in lines:
            if os.fork() == 0:
                os.close(reading)
                _end_with(partial(_run_task, Task(**json.loads(line)), state_path))


def _make_checkers() -> None:
    """What every task reads is a study and the hospital's profile."""
    from client.config import SiteConfig  # noqa: PLC0415  loaded by then
    from federation.config import StudyConfig  # noqa: PLC0415
    from federation.strict_yaml import checker  # noqa: PLC0415

    for schema in (SiteConfig, StudyConfig):
        checker(schema)


def _run_task(task: Task, state_path: Path) -> None:
    """Serve one message as Flower's own program would, with what the hospital gives of its machine now."""
    from flwr.supernode.runtime.run_clientapp import run_clientapp  # noqa: PLC0415  loaded by then

    from client.control.limits import Limits, keep_to, limits_in_force  # noqa: PLC0415

    die_with_parent()
    keep_to(limits_in_force(state_path) or Limits())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run_clientapp(
        runtime_api_address=task.runtime_api_address,
        token=task.token,
        insecure=False,
        certificates=Path(task.ca_path).read_bytes(),
        parent_pid=os.getppid(),
    )


def _end_with(work: Callable[[], None]) -> NoReturn:
    """Do the work and end this copy, without returning into the code it was copied from."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        logger.exception("a copy failed")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def use_nursery(nursery: TextIO) -> None:
    """Have Flower's executor hand its tasks to the nursery; a hospital runs no other kind."""
    from flwr.supercore.constant import TaskType  # noqa: PLC0415  the nursery is forked before
    from flwr.supercore.superexec.executor.subprocess_executor import (  # noqa: PLC0415
        SubprocessExecutor,
    )
    from flwr.supercore.superexec.executor.types import (  # noqa: PLC0415
        ExecutionSpec,
        LaunchResult,
    )

    def launch(_: SubprocessExecutor, spec: ExecutionSpec) -> LaunchResult:
        if spec.task_type is not TaskType.CLIENT_APP or spec.root_certificates_path is None:
            return LaunchResult.failed("a hospital runs nothing but its own training")
        task = Task(
            runtime_api_address=spec.runtime_api_address,
            token=spec.token,
            ca_path=spec.root_certificates_path,
        )
        nursery.write(json.dumps(asdict(task)) + "\n")
        nursery.flush()
        return LaunchResult.accepted()

    replace_name(SubprocessExecutor, "launch", lambda _: launch)


def wait_for_the_bell(bells: Bells) -> None:
    """Have Flower's executor look for a task when the node has fetched a message, and now and then in any case."""
    module = importlib.import_module("flwr.supercore.superexec.run_superexec")
    stood = bells.rung(TASKS)

    def sleep(_: float) -> None:
        nonlocal stood
        end = time.monotonic() + TASK_POLL_SECONDS
        while bells.rung(TASKS) == stood and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        stood = bells.rung(TASKS)  # before the look for a task

    replace_name(module, "time", lambda _: SimpleNamespace(sleep=sleep))


def main() -> None:
    """Open the nursery while this process is still empty, then become Flower's SuperExec."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True, type=Path, dest="state_path")
    options, flower_arguments = parser.parse_known_args()
    sys.argv = ["flower-superexec", *flower_arguments]
    use_nursery(open_nursery(options.state_path))
    wait_for_the_bell(bells_of(options.state_path))
    importlib.import_module("flwr.supercore.cli").flower_superexec()


if __name__ == "__main__":
    main()
