"""A running hospital keeps to the limits that its profile says now, in every process, and to the old ones if it says nonsense."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.config import SiteConfig, load_site
from client.control.following import Following, following
from client.control.gate import Gate, gate_of
from client.control.limits import Limits, limits_in_force, put_into_force
from client.control.node_pace import keep_pace
from client.control.orders import control_folder
from client.control.pace import Pace
from client.device import GpuAbsent, require_gpus
from federation.strict_yaml import dump_yaml

ALWAYS = ["mon-sun 00:00-24:00"]
PROFILE = {
    "site_name": "north",
    "coordinator": "localhost:1",
    "ca_path": "ca.crt",
    "data_path": "data",
    "state_path": "state",
    "image_size": 32,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "site.yaml")


@pytest.fixture
def site(path: Path) -> SiteConfig:
    return load_site(path)


def written(path: Path, **limits: object) -> Path:
    """The profile with these limits, put in place as editors do."""
    draft = path.with_suffix(".new")
    draft.write_text(dump_yaml({**PROFILE, "limits": limits}))
    return draft.replace(path)


def is_quiet(site: SiteConfig) -> bool:
    """Asked as the node asks, which knows the state folder alone, and as a round that began before asks."""
    answers = {Gate(state_path=site.state_path).closed() is not None}
    answers.add(gate_of(site).closed() is not None)
    (answer,) = answers
    return answer


def test_quiet_hours_that_are_written_while_it_runs_hold_at_once_and_end_at_once(
    path: Path, site: SiteConfig
) -> None:
    with following(site, path) as profile:
        profile.look()
        assert not is_quiet(site)
        written(path, quiet_hours=ALWAYS)
        profile.look()
        assert is_quiet(site)
        written(path)
        profile.look()
        assert not is_quiet(site)


@pytest.mark.parametrize(
    "content", ["", "site_name: [", "limits: {quiet_hours: [today]}", "limits: {gpus: [-1]}"]
)
def test_a_profile_that_cannot_be_used_leaves_the_old_limits_in_force_and_says_so_once(
    path: Path, site: SiteConfig, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(dump_yaml({**PROFILE, "limits": {"quiet_hours": ALWAYS}}))
    with following(load_site(path), path) as profile, caplog.at_level(logging.WARNING):
        path.write_text(content and f"{dump_yaml(PROFILE)}\n{content}\n")
        for _ in range(3):
            profile.look()
        assert is_quiet(site)
        assert caplog.text.count("its old limits stay in force") == 1
        path.unlink()
        profile.look()
        assert is_quiet(site)
        written(path)
        profile.look()
        assert not is_quiet(site)


def test_where_no_node_runs_the_profile_alone_counts(path: Path, site: SiteConfig) -> None:
    with following(site, path):
        pass
    assert limits_in_force(site.state_path) is None
    quiet = replace(site, limits=Limits(quiet_hours=tuple(ALWAYS)))
    assert gate_of(quiet).closed() is not None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"niceness": 20}', b'{"new": 1}', b"\xff"])
def test_limits_that_cannot_be_read_let_nothing_leave(tmp_path: Path, content: bytes) -> None:
    put_into_force(tmp_path, Limits())
    (control_folder(tmp_path) / "limits.json").write_bytes(content)
    assert Gate(state_path=tmp_path).closed() is not None


def test_a_new_speed_holds_for_the_next_part_of_a_message(
    path: Path, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = list[float]()
    pace = partial(Pace, clock=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr("client.control.node_pace.Pace", pace)
    content = b"x" * 10**6
    answer = PullObjectResponse(object_content=content)
    monkeypatch.setattr(FleetHttpClient, "PullObject", lambda *_: answer)
    monkeypatch.setattr(FleetHttpClient, "PushObject", lambda *_: None)
    keep_pace(site.state_path)
    profile, client = Following(site, path), FleetHttpClient.__new__(FleetHttpClient)

    def move() -> float:
        before = sum(slept)
        client.PullObject(PullObjectRequest())
        client.PushObject(PushObjectRequest(object_content=content))
        return sum(slept) - before

    assert move() == 0
    written(path, upload_bytes_per_second=1_000_000)
    profile.look()
    assert move() == pytest.approx(1)
    written(path, download_bytes_per_second=100_000)
    profile.look()
    assert move() == pytest.approx(9.75)


TASK = """
import os, json
from pathlib import Path
import flwr.supernode.runtime.run_clientapp as flower
from client.control.limits import Limits, put_into_force
from client.node_executor import Task, _run_task

def run_clientapp(**_):
    print(json.dumps([os.nice(0), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("FEDCXR_GPU_MEMORY")]))

flower.run_clientapp = run_clientapp
for _ in range(2):
    if os.fork() == 0:
        _run_task(Task(runtime_api_address="", token="", ca_path="/dev/null"), Path("state"))
        os._exit(0)
    os.wait()
    put_into_force(Path("state"), Limits(niceness=3))
"""


@pytest.mark.slow
def test_every_task_takes_what_the_hospital_gives_when_it_begins(tmp_path: Path) -> None:
    put_into_force(tmp_path / "state", Limits(niceness=7, gpus=(0, 2), gpu_memory=0.5))
    done = subprocess.run(
        [sys.executable, "-u", "-c", TASK],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told == [[7, "0,2", "0.5"], [3, None, None]]


@pytest.mark.parametrize(("named", "found"), [((0,), 0), ((0, 1), 1)])
def test_a_gpu_that_the_profile_names_and_that_is_absent_is_told_in_one_sentence(
    named: tuple[int, ...], found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    with pytest.raises(GpuAbsent, match=r"limits.gpus .* its data manager corrects"):
        require_gpus(Limits(gpus=named))


@pytest.mark.parametrize("gpus", [None, (), (0,), (0, 1)])
def test_gpus_that_are_there_or_not_asked_for_are_no_trouble(
    gpus: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 if gpus else 0)
    require_gpus(Limits(gpus=gpus))
