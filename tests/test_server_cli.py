"""The coordinator's commands: what they print of a study, and each mistake in one sentence."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import server.gathering
import server.superlink
import server.watch
from federation.config import StudyConfig, load_study
from federation.files import hold_lock
from federation.messages import Refusal, RefusalCode
from federation.stages import FullStage, LocalTraining
from server.endpoint import LOCK_NAME, write_endpoint
from server.records import Part, Reached
from server.store import StudyStore
from server.superlink import CoordinatorSettings
from server.survey import answering, survey
from server.watch import StudyStopped, want

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
STAGE = FullStage(kind="full", num_rounds=1, local=LOCAL)
STUDY = """\
name: toy
seed: 1
model: {size: tiny, image_size: 16}
rounds: {num_sites: 2, min_sites: 1}
stages: [{kind: full, num_rounds: 1, local: {local_steps: 1, batch_size: 1, learning_rate: 1.0}}]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def announce(state: Path) -> None:
    write_endpoint(state, host="127.0.0.1", port=8443, control_port=1, ca_path=state / "ca.crt")


def test_a_port_in_use_is_refused_before_anything_starts(refused: Refused, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = refused("coordinator", "up", "--state", tmp_path / "c", "--port", port)
    assert f"port {port} on 127.0.0.1 is in use by another program" in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "c" / "logs").exists()


def test_a_second_coordinator_on_the_same_folder_is_refused(
    refused: Refused, tmp_path: Path
) -> None:
    with hold_lock(tmp_path / LOCK_NAME):
        message = refused("coordinator", "up", "--state", tmp_path)
    assert "is in use by a running fedcxr process" in message


def test_a_state_folder_that_is_a_file_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused("coordinator", "up", "--state", tmp_path / "file")
    assert message.startswith(f"{tmp_path}/file cannot be used")


def test_run_needs_a_running_coordinator(refused: Refused, study: Path, tmp_path: Path) -> None:
    message = refused("coordinator", "run", study, "--state", tmp_path / "c")
    assert message.startswith(f"no coordinator runs in {tmp_path}/c: start it with")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("name: toy\nsite: 3", "site: Unexpected keyword argument"),
        ("name: toy\nrate: 1", "rate: Unexpected keyword argument"),
        ("name: Toy!", "name: String should match pattern"),
    ],
)
def test_a_study_with_a_mistake_is_refused_by_the_key(
    refused: Refused, study: Path, tmp_path: Path, wrong: str, complaint: str
) -> None:
    study.write_text(STUDY.replace("name: toy", wrong))
    first, second = refused("coordinator", "run", study, "--state", tmp_path).splitlines()
    assert first == f"{study} cannot be used:"
    assert second.strip().startswith(complaint)


def test_an_unknown_key_deep_in_a_study_is_named_with_its_place(
    refused: Refused, study: Path, tmp_path: Path
) -> None:
    study.write_text(STUDY.replace("batch_size: 1", "batch_size: 1, batchsize: 2"))
    message = refused("coordinator", "run", study, "--state", tmp_path)
    assert "stages.0.full.local.batchsize: Unexpected keyword argument" in message


def test_a_study_that_is_missing_or_no_yaml_is_refused(
    refused: Refused, study: Path, tmp_path: Path
) -> None:
    absent = tmp_path / "absent.yaml"
    assert "cannot be read" in refused("coordinator", "run", absent, "--state", tmp_path)
    study.write_text("a: [1\nb: 2\n")
    message = refused("coordinator", "run", study, "--state", tmp_path)
    assert "is not valid YAML (line 2: " in message


def test_run_ends_with_3_and_the_reason_when_the_study_waits_for_a_person(
    fedcxr: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> StudyStore:
        raise StudyStopped("round 1 has 1 of 2 hospitals")

    monkeypatch.setattr(server.watch, "run_to_end", stop)
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        answer = fedcxr("coordinator", "run", study, "--state", tmp_path)
    assert answer == (3, "", "error: round 1 has 1 of 2 hospitals\n")


def test_run_of_a_finished_study_says_where_the_model_is(
    fedcxr: Command, study: Path, tmp_path: Path
) -> None:
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        store = finished(tmp_path, study)
        code, out, err = fedcxr("coordinator", "run", study, "--state", tmp_path)
        assert (code, err) == (0, "")
        assert "toy: finished, round 1 of 1" in out
        assert out.splitlines()[-1] == f"model: {store.folder / 'model'}"
        code, out, _ = fedcxr("coordinator", "run", study, "--state", tmp_path, "--json")
    (line,) = out.splitlines()
    assert json.loads(line) == {"study": "toy", "rounds": 1, "model": str(store.folder / "model")}


def test_run_detached_leaves_the_study_to_the_coordinator(
    fedcxr: Command, study: Path, tmp_path: Path
) -> None:
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        code, out, err = fedcxr("coordinator", "run", study, "--state", tmp_path, "--detach")
        assert (code, err) == (0, "")
        assert out.startswith("toy: the coordinator runs it. See how it stands: ")
        assert out.strip().endswith(f"coordinator status --state {tmp_path}")
        (store,) = survey(tmp_path, answering)[0]
        assert store.fact("wanted") == "yes"
        code, out, _ = fedcxr("coordinator", "status", "--state", tmp_path, "--json")
    (seen,) = json.loads(out)["studies"]
    assert (code, seen["state"], seen["reason"]) == (0, "waiting", "its process is being started")


def test_interrupting_run_ends_the_watching_alone_and_says_so(
    fedcxr: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.watch.time.sleep", interrupt)
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        code, _, err = fedcxr("coordinator", "run", study, "--state", tmp_path)
    assert code == 130
    assert len(err.splitlines()) == 1
    assert err.startswith("toy goes on without being watched. To stop it, type: ")
    assert err.strip().endswith(f"coordinator stop toy --state {tmp_path}")
    (store,) = survey(tmp_path, answering)[0]
    assert store.fact("wanted") == "yes"


@pytest.mark.parametrize("by_name", [True, False])
def test_stop_withdraws_a_study_also_while_no_coordinator_runs(
    fedcxr: Command,
    study: Path,
    tmp_path: Path,
    by_name: bool,  # noqa: FBT001
) -> None:
    store = StudyStore.create(tmp_path / "c", load_study(study))
    want(store)
    name = "toy" if by_name else study
    code, out, err = fedcxr("coordinator", "stop", name, "--state", tmp_path / "c")
    assert (code, err) == (0, "")
    assert out.startswith("toy is stopped; finished rounds are kept.")
    assert store.fact("wanted") == "no"
    _, out, _ = fedcxr("coordinator", "status", "--state", tmp_path / "c")
    assert "toy: withdrawn, round 1 of 1" in out


def test_stop_of_a_study_that_is_not_there_names_those_that_are(
    refused: Refused, study: Path, tmp_path: Path
) -> None:
    store = StudyStore.create(tmp_path, load_study(study))
    message = refused("coordinator", "stop", "joy", "--state", tmp_path)
    assert message.startswith("'joy' does not name one study of this coordinator: give its file")
    assert store.folder.name in message


def test_up_tells_its_programs_of_the_cap_on_scratch_and_of_the_bucket(
    fedcxr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[CoordinatorSettings] = []
    monkeypatch.setattr(server.superlink, "serve", lambda settings, **_: given.append(settings))
    options = ("--max-scratch", "2.5", "--bucket", "https://bucket.example.org/fedcxr")
    assert fedcxr("coordinator", "up", "--state", tmp_path, *options)[0] == 0
    assert given[0].max_scratch_bytes == 2_500_000_000
    assert given[0].bucket == "https://bucket.example.org/fedcxr"


def test_status_shows_studies_and_why_one_stopped(
    fedcxr: Command, study_of: StudyOf, tmp_path: Path
) -> None:
    store = StudyStore.create(tmp_path, study_of(STAGE))
    store.set_fact("stopped", "round 1 has 1 of 2 hospitals")
    part = Part(number=1, site="north", attempt=1, state="refused", reason="3 steps, 2 asked for")
    store.record(part)
    with hold_lock(tmp_path / LOCK_NAME):
        announce(tmp_path)
        code, out, err = fedcxr("coordinator", "status", "--state", tmp_path)
        assert (code, err) == (0, "")
        assert "127.0.0.1:8443" in out
        assert "toy: stopped, round 1 of 1" in out
        assert "  round 1 has 1 of 2 hospitals" in out.splitlines()
        assert "  north: refused, 00:00 ago 3 steps, 2 asked for" in out.splitlines()
        code, out, err = fedcxr("coordinator", "status", "--state", tmp_path, "--json")
    (line,) = out.splitlines()
    (study,) = json.loads(line)["studies"]
    assert (code, study["state"], study["parts"][0]["site"]) == (0, "stopped", "north")


def test_status_of_a_folder_that_is_not_there_is_refused(refused: Refused, tmp_path: Path) -> None:
    message = refused("coordinator", "status", "--state", tmp_path / "absent")
    assert message.startswith(f"no coordinator runs in {tmp_path}/absent")


def test_status_says_that_no_coordinator_runs_and_shows_its_studies_all_the_same(
    fedcxr: Command, study_of: StudyOf, tmp_path: Path
) -> None:
    StudyStore.create(tmp_path, study_of(STAGE))
    code, out, err = fedcxr("coordinator", "status", "--state", tmp_path)
    assert (code, err) == (1, "")
    assert "not running" in out
    assert "toy: idle" in out


def test_statistics_needs_a_running_coordinator(
    refused: Refused, study: Path, tmp_path: Path
) -> None:
    message = refused("coordinator", "statistics", study, "--state", tmp_path / "c")
    assert message.startswith(f"no coordinator runs in {tmp_path}/c: start it with")


def test_statistics_prints_every_hospitals_part(
    fedcxr: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Refusal(code=RefusalCode.STATISTICS, reason="it does not share")
    monkeypatch.setattr(server.gathering, "gather", lambda *_, **__: {"north": refusal})
    code, out, err = fedcxr("coordinator", "statistics", study, "--state", tmp_path)
    assert (code, err) == (0, "")
    assert "north: not shared: it does not share" in out.splitlines()
    code, out, _ = fedcxr("coordinator", "statistics", study, "--state", tmp_path, "--json")
    (line,) = out.splitlines()
    assert json.loads(line)["hospitals"]["north"]["state"] == "not shared"


def finished(state: Path, study: Path) -> StudyStore:
    store = StudyStore.create(state, load_study(study))
    part = Part(number=1, site="a", attempt=1, state="admitted", loss=1.0)
    store.record(part)
    store.open_round(1)
    store.commit(Reached(number=1, digests={}, base_digest=""), [part], seconds=1.0)
    store.set_fact("finished", "now")
    return store
