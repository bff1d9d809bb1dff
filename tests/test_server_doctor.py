"""A coordinator looked over: everything well where it is well, and each fault named, with its owner and what to type."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from federation import certificates
from federation.certificates import issue_certificate, make_authority
from federation.config import StudyConfig, load_study
from federation.diagnosis import Finding, Job, Verdict, examine
from federation.files import hold_lock
from server.doctor import keys, members, reach, standing
from server.doctor.checks import CHECKS
from server.doctor.coordinator import Coordinator, coordinator_of
from server.endpoint import LOCK_NAME, write_endpoint
from server.enrolment.members import seen_path
from server.enrolment.opening import Opening, write_opening
from server.enrolment.steps import open_coordinator
from server.plans.issuing import Terms, signed_plan
from server.store import StudyStore
from tests.faults.public_port import DAY, PublicPort, signer, write_certificate

STUDY = Path(__file__).parent.parent / "configs" / "smoke.yaml"
OPENING = Opening(host="localhost", port=8443, listen="127.0.0.1", image_size=32)


@pytest.fixture(scope="session")
def study() -> StudyConfig:
    """The smoke test's."""
    return load_study(STUDY)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a coordinator on which `init` was typed."""
    folder = tmp_path / "state"
    open_coordinator(folder, OPENING, move=False)
    return folder


@contextmanager
def running(state: Path, *, status: int = 200) -> Iterator[None]:
    """As if the coordinator ran: its lock is held, and its public port answers."""
    authority = make_authority(state / "tls")
    tls = issue_certificate(state / "tls", authority, ("localhost", "127.0.0.1"))
    shown = (tls.cert_path, tls.key_path)
    with PublicPort(shown, status=status) as public, hold_lock(state / LOCK_NAME):
        write_opening(state, replace(OPENING, port=public.port))
        write_endpoint(
            state, host="127.0.0.1", port=public.port, control_port=1, ca_path=tls.ca_path
        )
        yield


def look(state: Path) -> Mapping[str, Finding]:
    return {each.name: each.finding for each in examine(coordinator_of(state, None), CHECKS)}


def seen(state: Path) -> Coordinator:
    return coordinator_of(state, None)


def not_well(found: Mapping[str, Finding]) -> set[str]:
    return {name for name, each in found.items() if each.verdict in {Verdict.WARN, Verdict.FAIL}}


def test_a_coordinator_that_runs_and_waits_for_hospitals_lacks_nothing_but_them(
    state: Path, study: StudyConfig
) -> None:
    signed_plan(StudyStore.create(state, study))
    with running(state):
        found = look(state)
    assert not_well(found) == {"roster"}
    assert found["port"].sentence.endswith("over TLSv1.3")
    assert found["plans"].verdict is found["databases"].verdict is Verdict.OK


def test_a_coordinator_that_does_not_run_says_how_to_start_it(state: Path) -> None:
    found = look(state)
    assert found["running"].verdict is Verdict.FAIL
    assert f"fedcxr coordinator up --state {state}" in found["running"].next_step
    assert found["port"].verdict is found["health"].verdict is Verdict.SKIPPED


def test_a_folder_that_is_not_there_is_made_by_nobody_and_every_fault_has_an_owner(
    tmp_path: Path,
) -> None:
    found = look(tmp_path / "absent")
    assert found["state-folder"].verdict is Verdict.FAIL
    assert all(each.job and each.next_step for each in map(found.get, not_well(found)) if each)
    assert not any("check itself broke" in each.sentence for each in found.values())
    assert not (tmp_path / "absent").exists()


def test_a_sick_superlink_and_a_port_with_a_strangers_certificate_are_told_apart(
    state: Path, tmp_path: Path
) -> None:
    with running(state, status=503):
        assert look(state)["health"].verdict is Verdict.FAIL
    other = write_certificate(tmp_path, signer("stranger"), names=("localhost",))
    with PublicPort(other) as public, hold_lock(state / LOCK_NAME):
        write_endpoint(
            state,
            host="localhost",
            port=public.port,
            control_port=1,
            ca_path=state / "tls" / "ca.crt",
        )
        found = reach.port(seen(state))
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.COORDINATOR)
    assert "another authority" in found.sentence


def test_an_order_port_that_is_open_to_others_is_a_failure(state: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener, hold_lock(state / LOCK_NAME):  # noqa: S104
        port = listener.getsockname()[1]
        write_endpoint(state, host="localhost", port=9, control_port=port, ca_path=state / "ca")
        assert reach.loopback(seen(state)).verdict is Verdict.FAIL
    with socket.create_server(("127.0.0.1", 0)) as listener, hold_lock(state / LOCK_NAME):
        port = listener.getsockname()[1]
        write_endpoint(state, host="localhost", port=9, control_port=port, ca_path=state / "ca")
        assert reach.loopback(seen(state)).verdict is Verdict.OK


def test_an_authority_is_said_to_end_years_before_it_does(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.authority(seen(state)).verdict is Verdict.OK
    monkeypatch.setattr(certificates, "OVERLAP", timedelta(days=3660))
    found = keys.authority(seen(state))
    assert (found.verdict, found.job) == (Verdict.WARN, Job.COORDINATOR)
    assert "hospitals need the next one" in found.sentence
    assert "fedcxr coordinator next-authority" in found.next_step


def test_keys_that_others_can_read_or_that_were_exchanged_are_noticed(state: Path) -> None:
    assert keys.secrets(seen(state)).verdict is Verdict.OK
    assert keys.signing_key(seen(state)).verdict is Verdict.OK
    key = state / "authority" / "authority.key"
    key.chmod(0o644)
    assert f"{key} can be read" in keys.secrets(seen(state)).sentence
    key.with_suffix(".pub").write_text("other")
    assert keys.signing_key(seen(state)).verdict is Verdict.FAIL
    key.write_text("damaged")
    assert "restore" in keys.signing_key(seen(state)).next_step


def test_a_certificate_for_another_name_and_one_near_its_end_are_noticed(
    state: Path, tmp_path: Path
) -> None:
    assert keys.certificate(seen(state)).verdict is Verdict.OK
    write_opening(state, replace(OPENING, host="fed.invalid"))
    assert "not for fed.invalid" in keys.certificate(seen(state)).sentence
    assert reach.name(seen(state)).job is Job.NETWORK
    write_opening(state, OPENING)
    shown, _ = write_certificate(tmp_path, signer("a"), ends=5 * DAY)
    shutil.copy(shown, state / "tls" / "server.crt")
    assert keys.certificate(seen(state)).verdict is Verdict.WARN
    (state / "tls" / "ca.crt").unlink()
    assert keys.authority(seen(state)).verdict is Verdict.FAIL


def test_a_file_in_the_roster_that_is_no_key_and_a_hospital_not_seen_are_noticed(
    state: Path,
) -> None:
    from federation.node_keys import make_node_key

    public = make_node_key(state.parent / "a", "north").public_path
    shutil.copy(public, state / "roster" / "north.pub")
    assert members.roster(seen(state)).verdict is Verdict.OK
    assert "north" in members.certificates(seen(state)).sentence
    assert "north" in members.seen(seen(state)).sentence
    seen_path(state).write_text(json.dumps({"north": 2**40}))
    assert members.seen(seen(state)).verdict is Verdict.OK
    (state / "roster" / "south.pub").write_text("no key")
    assert "south" in members.roster(seen(state)).sentence


def test_a_damaged_database_lost_weights_and_a_stopped_study_are_noticed(
    state: Path, study: StudyConfig
) -> None:
    store = StudyStore.create(state, study)
    assert standing.databases(seen(state)).verdict is Verdict.OK
    assert standing.studies(seen(state)).verdict is Verdict.OK
    store.set_fact("stopped", "the quorum was missed")
    assert "the quorum was missed" in standing.studies(seen(state)).sentence
    (store.folder / "study.db").write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    assert standing.databases(seen(state)).verdict is Verdict.FAIL


def test_a_plan_that_has_ended_or_is_anothers_is_noticed(state: Path, study: StudyConfig) -> None:
    store = StudyStore.create(state, study)
    assert standing.plans(seen(state)).verdict is Verdict.SKIPPED
    signed_plan(store)
    assert standing.plans(seen(state)).verdict is Verdict.OK
    signed_plan(store, Terms(ends=date(2020, 1, 1)))
    assert "has ended" in standing.plans(seen(state)).sentence
    (state / "authority" / "authority.pub").unlink()
    assert "another key" in standing.plans(seen(state)).sentence


def test_the_command_says_everything_as_json_and_ends_with_1_if_something_fails(
    state: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = fedcxr("coordinator", "doctor", "--state", state, "--json")
    facts = json.loads(out)
    assert (code, err, facts["ok"]) == (1, "", False)
    assert len(facts["checks"]) == len(CHECKS)
