"""What Prometheus reads of a coordinator."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from federation.certificates import issue_certificate, make_authority
from federation.config import StudyConfig
from federation.files import hold_lock, write_file
from federation.metrics import MetricsPortTaken, metrics_served, text_of
from federation.processes import free_port
from federation.stages import FullStage, LocalTraining
from server.endpoint import LOCK_NAME
from server.enrolment.members import seen_path
from server.gateway.counters import FILE_NAME, Access
from server.metrics import CoordinatorMetrics
from server.records import Part, Reached
from server.store import StudyStore
from tests.faults.prometheus_names import against_the_guide

LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=4, local=LOCAL)


@pytest.fixture
def state(tmp_path: Path, study_of: Callable[..., StudyConfig]) -> Path:
    """A coordinator with a study that has one round, of one hospital; another was refused."""
    state = tmp_path / "state"
    issue_certificate(state / "tls", make_authority(state / "tls"), ("localhost",))
    store = StudyStore.create(state, study_of(STAGE))
    done = Part(number=1, site="st-mary", attempt=1, state="admitted", loss=0.5, bytes_up=1000)
    for part in (done, Part(number=1, site="b", attempt=1, state="refused", code="norm")):
        store.record(part)
    store.open_round(1)
    store.commit(Reached(number=1, digests={}, base_digest=""), [done], seconds=2.5)
    return state


def values(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def read(state: Path) -> dict[str, float]:
    return values(text_of(CoordinatorMetrics(state_path=state)))


def test_a_study_is_told_as_it_stands_in_the_record(state: Path) -> None:
    assert not against_the_guide(text_of(CoordinatorMetrics(state_path=state)))
    told = read(state)
    assert told['fedcxr_study_round{study="toy"}'] == 1
    assert told['fedcxr_study_rounds_planned{study="toy"}'] == 4
    assert told['fedcxr_round_loss{study="toy"}'] == 0.5
    assert told['fedcxr_round_seconds{study="toy"}'] == 2.5
    assert told['fedcxr_study_seconds_left{study="toy"}'] == 7.5
    assert told['fedcxr_study_parts{code="norm",state="refused",study="toy"}'] == 1
    assert told['fedcxr_study_parts{code="",state="admitted",study="toy"}'] == 1
    assert told['fedcxr_study_tensor_bytes_total{direction="up",study="toy"}'] == 1000
    assert told['fedcxr_study_state{state="idle",study="toy"}'] == 1
    assert told['fedcxr_study_state{state="running",study="toy"}'] == 0


def test_certificates_are_told_with_the_time_they_have_left(state: Path) -> None:
    told = read(state)
    assert told['fedcxr_certificate_expiry_seconds{certificate="server"}'] > 86400
    authority = told['fedcxr_certificate_expiry_seconds{certificate="authority"}']
    assert authority >= told['fedcxr_certificate_expiry_seconds{certificate="server"}']


def test_a_coordinator_is_up_while_it_holds_its_folder(state: Path) -> None:
    assert read(state)["fedcxr_coordinator_up"] == 0
    with hold_lock(state / LOCK_NAME):
        assert read(state)["fedcxr_coordinator_up"] == 1


def test_a_hospital_that_called_lately_is_connected(state: Path) -> None:
    now = time.time()
    seen = {"st-mary": int(now), "b": int(now - 3600)}
    write_file(seen_path(state), json.dumps(seen).encode())
    told = read(state)
    assert told["fedcxr_hospitals_connected"] == 1
    assert told['fedcxr_hospital_timestamp_seconds{site="b"}'] == int(now - 3600)


def test_what_the_public_port_saw_is_told(state: Path) -> None:
    access = Access(started=1.0, num_connections=3, counts={"refused.rate": 7})
    write_file(state / FILE_NAME, json.dumps(asdict(access)).encode())
    told = read(state)
    assert told["fedcxr_port_connections"] == 3
    assert told['fedcxr_port_answers_total{outcome="refused.rate"}'] == 7


def test_prometheus_reads_them_on_loopback_and_nowhere_else(state: Path) -> None:
    port = free_port()
    with metrics_served(port, CoordinatorMetrics(state_path=state)):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            told = values(answer.read().decode())
        listening = socket.create_connection(("127.0.0.1", port))
        listening.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((own_address(), port), timeout=5)
    assert told['fedcxr_study_round{study="toy"}'] == 1
    assert told["fedcxr_look_seconds"] >= 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


def own_address() -> str:
    """Another address of this machine than 127.0.0.1."""
    return "127.0.0.2"


def test_a_port_that_is_taken_is_named(state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        attempt = metrics_served(port, CoordinatorMetrics(state_path=state))
        with pytest.raises(MetricsPortTaken, match=str(port)), attempt:
            pass


def test_the_command_prints_the_same(
    state: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = fedcxr("coordinator", "metrics", "--state", state)
    assert code == 0
    assert values(out)['fedcxr_study_round{study="toy"}'] == 1
    _, out, _ = fedcxr("coordinator", "metrics", "--state", state, "--json")
    assert json.loads(out)["fedcxr_study_round"] == [{"study": "toy", "value": 1.0}]
