"""The hospital's SuperNode: Flower's own, held to one bundle and to honest signs of life.

Flower's node runs whatever bundle the coordinator sends, ends quietly after one internal error of the
coordinator, and gives up when its key is not known yet. This program replaces some of Flower's private names
to change that, and refuses to start if one of them is gone.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import logging
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import httpx
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
)
from flwr.supercore.fab import Fab
from flwr.supercore.heartbeat import HeartbeatFailure, HeartbeatSender
from flwr.supercore.run import Run
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.control.gate import Gate
from client.control.last_door import end_node, guard_last_door
from client.control.node_pace import keep_pace
from client.control.watch import watching
from client.enrolment.presenting import present_certificate
from client.enrolment.trust import status_of_answer, status_of_failure
from client.flower_names import replace_name
from client.node_status import NodeStatus, write_status
from federation.bells import TASKS, Bells, bells_of
from federation.bundle import BUNDLE_ID, bundle_version
from federation.enrolment import CERTIFICATE_NAME
from federation.files import write_file
from federation.processes import die_with_parent

logger = logging.getLogger("client.node_launcher")

LOOP_ENDED = 70
"""Exit code when Flower's loop is over although nobody asked: the supervisor starts anew."""
UNTRUSTED = 76
"""Exit code when the coordinator's certificate does not fit: the file may be replaced meanwhile."""
MAX_PAUSE_SECONDS = 8.0
POLL_SECONDS = 0.25
"""Pause between two questions for work, each of which the coordinator answers when there is some, or after 10 s."""
UNTRUSTED_PAUSE_SECONDS = 5.0

Activate = Callable[[FleetHttpClient, ActivateNodeRequest], ActivateNodeResponse]


def pin_bundle(home: Path, digest: str) -> None:
    """Have Flower refuse every bundle but one, and take no name or path from the coordinator.

    Args:
        home: Flower's home folder; bundles are unpacked below it.
        digest: SHA-256 of the only bundle that is accepted.
    """
    shutil.rmtree(home / "apps", ignore_errors=True)
    loop = importlib.import_module("flwr.supernode.start_client_internal")
    connection = importlib.import_module("flwr.supernode.fleet_http_connection")
    command = importlib.import_module("flwr.supernode.cli.flower_supernode")

    def always_verify(original: Callable[..., None]) -> Callable[..., None]:
        def start_client_internal(**arguments: object) -> None:
            original(**(arguments | {"trusted_entities": {"installed release": digest}}))

        return start_client_internal

    def verify_fab(fab: Fab, _: object) -> bool:
        return is_installed_release(fab.content, fab.hash_str, digest, home)

    replace_name(command, "start_client_internal", always_verify)
    replace_name(connection, "fab_from_proto", _claim_license)
    replace_name(connection, "run_from_proto", _use_own_names)
    replace_name(loop, "_verify_fab", lambda _: verify_fab)


def _claim_license(original: Callable[[object], Fab]) -> Callable[[object], Fab]:
    """Lead every bundle to Flower's question whether it is to be trusted."""

    def fab_from_proto(proto: object) -> Fab:
        fab = original(proto)
        fab.verifications = {"valid_license": "the installed release decides"}
        return fab

    return fab_from_proto


def _use_own_names(original: Callable[[object], Run]) -> Callable[[object], Run]:
    """Name folder and kind of task here; the coordinator could point to others."""

    def run_from_proto(proto: object) -> Run:
        run = original(proto)
        run.fab_id, run.fab_version = BUNDLE_ID, bundle_version()
        run.primary_task_type = "flwr-serverapp"
        return run

    return run_from_proto


def is_installed_release(content: bytes, name: str, digest: str, home: Path) -> bool:
    """Whether a bundle is the pinned one and no folder lies ready to run in its place."""
    received = hashlib.sha256(content).hexdigest()
    if received != digest or name != digest:
        logger.error("bundle %s refused: the installed release is %s", received, digest)
        return False
    if not _only_copies(home / "apps", content):
        logger.error("bundle refused: a folder below %s/apps was put there by someone else", home)
        return False
    logger.info("bundle %s is the installed release", received)
    return True


def _only_copies(apps: Path, content: bytes) -> bool:
    """Whether every unpacked bundle holds what this one holds; Flower runs such a folder unchecked."""
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        genuine = {
            path: bundle.read(path) for path in bundle.namelist() if not path.startswith(".info/")
        }
    return all(_files_below(folder) == genuine for folder in apps.glob("*"))


def _files_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def keep_heart_beating(status_path: Path) -> None:
    """Note every confirmed heartbeat, and try again after errors that would end Flower's thread."""

    def patient(original: Callable[[HeartbeatSender], None]) -> Callable[[HeartbeatSender], None]:
        def _heartbeat(sender: HeartbeatSender) -> None:
            try:
                original(sender)
            except HeartbeatFailure:
                raise
            except Exception as err:
                logger.warning("heartbeat failed: %s", type(err).__name__)
                raise HeartbeatFailure from err
            write_status(status_path, NodeStatus.REGISTERED)

        return _heartbeat

    replace_name(HeartbeatSender, "_heartbeat", patient)


def wait_for_admission(status_path: Path, node_id_path: Path) -> None:
    """Have activation wait for the coordinator and its consent instead of giving up."""

    def patient(original: Activate) -> Activate:
        def ActivateNode(  # noqa: N802  Flower's name
            client: FleetHttpClient, request: ActivateNodeRequest
        ) -> ActivateNodeResponse:
            pause = 1.0
            while True:
                try:
                    answer = _activate(original, client, request, node_id_path)
                except httpx.HTTPError as err:
                    _note_failure(status_path, _status_of(err))
                else:
                    write_file(node_id_path, str(answer.node_id).encode())
                    write_status(status_path, NodeStatus.REGISTERED)
                    return answer
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)

        return ActivateNode

    replace_name(FleetHttpClient, "ActivateNode", patient)


def _activate(
    original: Activate, client: FleetHttpClient, request: ActivateNodeRequest, node_id_path: Path
) -> ActivateNodeResponse:
    """Activate; sign off first a node of ours that died, since it would keep us out for a minute."""
    try:
        return original(client, request)
    except httpx.HTTPStatusError as err:
        if _status_of(err) is not NodeStatus.UNADMITTED or not node_id_path.exists():
            raise
    with contextlib.suppress(httpx.HTTPStatusError):  # offline already
        client.DeactivateNode(DeactivateNodeRequest(node_id=int(node_id_path.read_text())))
    node_id_path.unlink()
    return original(client, request)


def _note_failure(status_path: Path, status: NodeStatus) -> None:
    write_status(status_path, status)
    if status is NodeStatus.UNTRUSTED:
        logger.error("the coordinator's certificate is not one of ca_path")
        time.sleep(UNTRUSTED_PAUSE_SECONDS)
        os._exit(UNTRUSTED)


def _status_of(error: httpx.HTTPError) -> NodeStatus:
    if isinstance(error, httpx.HTTPStatusError):
        return status_of_answer(error.response)
    return status_of_failure(error) or NodeStatus.UNREACHABLE


def ask_sooner(bells: Bells) -> None:
    """Shorten the pause between two questions for work, and ring when there is some."""

    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, POLL_SECONDS))

    def ringing(original: Callable[..., int | None]) -> Callable[..., int | None]:
        def pull_and_store_message(**arguments: object) -> int | None:
            run_id = original(**arguments)
            if run_id is not None:
                bells.ring(TASKS)
            return run_id

        return pull_and_store_message

    loop = importlib.import_module("flwr.supernode.start_client_internal")
    replace_name(loop, "time", lambda _: SimpleNamespace(sleep=sleep))
    replace_name(loop, "_pull_and_store_message", ringing)


def run(flower_arguments: list[str]) -> NoReturn:
    """Run Flower's node to its end, and never outlive its loop."""
    command = importlib.import_module("flwr.supernode.cli.flower_supernode")
    sys.argv = ["flower-supernode", *flower_arguments]
    code: int | str | None = LOOP_ENDED
    try:
        command.flower_supernode()
        logger.error("Flower's loop ended; a new process takes over")
    except SystemExit as end:
        code = end.code
    except BaseException:
        logger.exception("Flower's node failed")
    logging.shutdown()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _log_own_lines() -> None:
    """Show this program's lines; Flower shows its own, and a handler on the root would repeat them all."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def main() -> NoReturn:
    """Prepare Flower as the arguments say, then become its node."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle-digest", required=True)
    parser.add_argument("--status", required=True, type=Path, dest="status_path")
    parser.add_argument("--node-id", required=True, type=Path, dest="node_id_path")
    parser.add_argument("--state", required=True, type=Path, dest="state_path")
    options, flower_arguments = parser.parse_known_args()
    _log_own_lines()
    write_status(options.status_path, NodeStatus.STARTING)
    pin_bundle(Path(os.environ["FLWR_HOME"]), options.bundle_digest)
    keep_heart_beating(options.status_path)
    wait_for_admission(options.status_path, options.node_id_path)
    ask_sooner(bells_of(options.state_path))
    present_certificate(options.status_path.with_name(CERTIFICATE_NAME), options.status_path)
    keep_pace(options.state_path)
    door = guard_last_door(Gate(state_path=options.state_path))
    with watching(door.is_to_be_cut, end_node):
        run(flower_arguments)


if __name__ == "__main__":
    die_with_parent()
    main()
