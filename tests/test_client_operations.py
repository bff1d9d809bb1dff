"""What keeps a hospital's node running: its numbers, its health, its backup."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from client.config import SiteConfig, load_site
from client.control.running import LOCK_NAME
from client.evidence.log import entries, note
from client.metrics import HospitalMetrics
from client.node_status import NodeStatus, write_status
from client.operations.backup import LedgersPart, backup, restore
from client.operations.health import health_of
from client.supernode import STATUS_NAME
from federation.archive import BackupUnusable, Draft, PlaceTaken
from federation.files import hold_lock, write_file
from federation.metrics import text_of
from federation.node_keys import make_node_key
from privacy.accounting.phase import Phase
from privacy.ledger.ledger import open_ledger
from privacy.ledger.verification import read_statement
from tests.faults.prometheus_names import against_the_guide

ROOT = Path(__file__).parents[1]
STEPS = Phase(noise_multiplier=2.0, sample_rate=0.01, num_steps=10)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A joined hospital's folder: profile, policy, a charged ledger, keys, evidence, and what must stay here."""
    folder = tmp_path / "hospital"
    folder.mkdir()
    policy = yaml.safe_load((ROOT / "configs" / "privacy.example.yaml").read_text())
    policy |= {
        "data_set": "chest",
        "delta": 1e-6,
        "max_epsilon": 8.0,
        "ledger_path": "chest.ledger",
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    (folder / "ca.crt").write_text("certificate")
    site = {
        "site_name": "st-mary",
        "coordinator": "localhost:8443",
        "ca_path": "ca.crt",
        "data_path": "data",
        "state_path": "state",
        "privacy_path": "policy.yaml",
        "image_size": 64,
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site))
    state = folder / "state"
    make_node_key(state, "st-mary")
    write_file(state / "patient.secret", b"s" * 32)
    write_file(state / "inspect.html", b"a page with radiographs")
    write_file(state / "cache" / "shard.bin", b"radiographs")
    write_file(state / "plans" / f"{'ab' * 32}.approval", b"{}")
    note(state, "joined", actor="it")
    charge(folder / "chest.ledger", 1)
    return folder / "site.yaml"


def charge(path: Path, *rounds: int) -> None:
    with open_ledger(path, data_set="chest", delta=1e-6, cap=8.0) as ledger:
        for number in rounds:
            ledger.reserve(f"study/round {number:05d}", STEPS, study_digest="study")


@contextmanager
def running(site: SiteConfig, status: NodeStatus) -> Iterator[None]:
    with hold_lock(site.state_path / LOCK_NAME):
        write_status(site.state_path / STATUS_NAME, status)
        yield


def values(site: SiteConfig) -> dict[str, float]:
    text = text_of(HospitalMetrics(site=site))
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_prometheus_reads_the_nodes_status_the_budget_and_the_log(profile: Path) -> None:
    site = load_site(profile)
    assert values(site)["fedcxr_hospital_up"] == 0
    with running(site, NodeStatus.REGISTERED):
        told = values(site)
        assert not against_the_guide(text_of(HospitalMetrics(site=site)))
    assert told["fedcxr_hospital_up"] == 1
    assert told['fedcxr_node_status{status="registered"}'] == 1
    assert told['fedcxr_node_status{status="unreachable"}'] == 0
    assert told['fedcxr_events_total{event="joined"}'] == 1
    assert 0 < told["fedcxr_epsilon_spent"] < told["fedcxr_epsilon_cap"] == 8


def test_a_ledger_or_a_log_that_was_tampered_with_is_told_and_no_number_is_made_up(
    profile: Path,
) -> None:
    site = load_site(profile)
    for path in (profile.parent / "chest.ledger", site.state_path / "evidence" / "log.jsonl"):
        path.write_bytes(path.read_bytes().replace(b"st", b"xt", 1).replace(b"jo", b"xx", 1))
    told = values(site)
    assert told["fedcxr_ledger_readable"] == told["fedcxr_evidence_readable"] == 0
    assert "fedcxr_epsilon_spent" not in told


def test_numbers_name_no_place_and_no_patient(profile: Path) -> None:
    text = text_of(HospitalMetrics(site=load_site(profile)))
    assert str(profile.parent) not in text
    assert "chest" not in text


@pytest.mark.parametrize(
    ("event", "facts", "healthy"),
    [
        ("change-left", {"round": 3}, True),
        ("round-refused", {"round": 3, "code": "cache", "reason": "no cache"}, False),
        ("round-refused", {"round": 3, "code": "unapproved", "reason": "not approved"}, False),
        ("round-refused", {"round": 3, "code": "paused", "reason": "paused"}, True),
    ],
)
def test_a_hospital_is_healthy_if_its_last_round_was_not_its_own_failure(
    profile: Path, event: str, facts: dict[str, str | int], *, healthy: bool
) -> None:
    site = load_site(profile)
    note(site.state_path, event, actor="program", facts=facts)
    with running(site, NodeStatus.REGISTERED):
        assert health_of(site).is_healthy is healthy
        note(site.state_path, "change-left", actor="program", facts={"round": 4})
        assert health_of(site).is_healthy


def test_a_hospital_that_is_not_connected_is_not_healthy(profile: Path) -> None:
    site = load_site(profile)
    assert "does not run" in health_of(site).why
    with running(site, NodeStatus.UNREACHABLE):
        assert not health_of(site).is_healthy


def test_nothing_of_a_patient_no_key_and_no_approval_is_in_a_backup(
    profile: Path, tmp_path: Path
) -> None:
    contents = backup(profile, tmp_path / "b.tar", with_keys=False)
    assert contents.left_out == ("node.key", "patient.secret")
    assert set(contents.files) == {
        "site.yaml",
        "policy.yaml",
        "ca.crt",
        "ledger",
        "state/node.key.pub",
        "state/evidence/log.jsonl",
    }
    with tarfile.open(tmp_path / "b.tar") as archive:
        kept = b"".join(archive.extractfile(each).read() for each in archive)  # type: ignore[union-attr]
    assert b"radiographs" not in kept
    assert b"PRIVATE KEY" not in kept


def test_a_hospital_is_had_again_from_a_backup_with_its_keys(profile: Path, tmp_path: Path) -> None:
    backup(profile, tmp_path / "b.tar", with_keys=True)
    again = tmp_path / "elsewhere" / "site.yaml"
    again.parent.mkdir()
    restore(tmp_path / "b.tar", again)
    before, after = load_site(profile), load_site(again)
    for name in ("node.key", "patient.secret", "evidence/log.jsonl"):
        assert (after.state_path / name).read_bytes() == (before.state_path / name).read_bytes()
    assert (after.state_path / "node.key").stat().st_mode & 0o777 == 0o600
    assert entries(after.state_path) == entries(before.state_path)
    ledgers = [read_statement(path.parent / "chest.ledger").chain for path in (profile, again)]
    assert ledgers[0] == ledgers[1]


def test_evidence_that_grows_while_it_is_copied_is_copied_again(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, copy, events = load_site(profile).state_path, Draft.add, ["paused", "resumed"]

    def note_before(draft: Draft, source: Path, name: str) -> None:
        if events:
            note(state, events.pop(0), actor="it")
            write_file(state / "evidence" / "receipts" / f"{len(events)}.json", b"{}")
        copy(draft, source, name)

    monkeypatch.setattr(Draft, "add", note_before)
    contents = backup(profile, tmp_path / "b.tar", with_keys=True)
    assert {"state/evidence/receipts/0.json", "state/evidence/receipts/1.json"} <= set(
        contents.files
    )
    again = tmp_path / "again" / "site.yaml"
    restore(tmp_path / "b.tar", again)
    assert entries(load_site(again).state_path) == entries(state)


def test_a_ledger_that_knows_more_than_the_backup_stays(profile: Path, tmp_path: Path) -> None:
    backup(profile, tmp_path / "b.tar", with_keys=True)
    charge(profile.parent / "chest.ledger", 2)
    before = (profile.parent / "chest.ledger").read_bytes()
    shutil.rmtree(profile.parent / "state")
    assert restore(tmp_path / "b.tar", profile).kept_ledger
    assert (profile.parent / "chest.ledger").read_bytes() == before


def test_a_ledger_that_knows_less_is_replaced(profile: Path, tmp_path: Path) -> None:
    older = (profile.parent / "chest.ledger").read_bytes()
    charge(profile.parent / "chest.ledger", 2)
    newer = (profile.parent / "chest.ledger").read_bytes()
    backup(profile, tmp_path / "b.tar", with_keys=True)
    (profile.parent / "chest.ledger").write_bytes(older)
    shutil.rmtree(profile.parent / "state")
    assert not restore(tmp_path / "b.tar", profile).kept_ledger
    assert (profile.parent / "chest.ledger").read_bytes() == newer


def test_ledgers_that_were_both_charged_are_left_to_a_person(profile: Path, tmp_path: Path) -> None:
    ledger = profile.parent / "chest.ledger"
    older = ledger.read_bytes()
    charge(ledger, 2)
    backup(profile, tmp_path / "b.tar", with_keys=True)
    ledger.write_bytes(older)
    charge(ledger, 3)
    shutil.rmtree(profile.parent / "state")
    with pytest.raises(LedgersPart, match="both were charged"):
        restore(tmp_path / "b.tar", profile)
    assert not (profile.parent / "state" / "node.key").exists()


def test_a_hospital_that_is_there_is_not_overwritten(profile: Path, tmp_path: Path) -> None:
    backup(profile, tmp_path / "b.tar", with_keys=True)
    with pytest.raises(PlaceTaken):
        restore(tmp_path / "b.tar", profile)


def test_a_coordinators_backup_is_not_a_hospitals(profile: Path, tmp_path: Path) -> None:
    backup(profile, tmp_path / "b.tar", with_keys=True)
    from server.operations.backup import restore as coordinator_restore

    with pytest.raises(BackupUnusable, match="backup of a hospital"):
        coordinator_restore(tmp_path / "b.tar", tmp_path / "state")


def test_the_commands_tell_what_comes_next(
    profile: Path, tmp_path: Path, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = fedcxr("hospital", "backup", tmp_path / "b.tar", profile)
    assert code == 0
    assert "node.key" in out
    again = tmp_path / "again" / "site.yaml"
    code, out, _ = fedcxr("hospital", "restore", tmp_path / "b.tar", again)
    assert code == 0
    assert "approve the plan again" in out
    code, out, _ = fedcxr("hospital", "health", again, "--json")
    assert code == 1
    assert json.loads(out)["healthy"] is False
    code, out, _ = fedcxr("hospital", "metrics", again)
    assert code == 0
    assert "fedcxr_hospital_up 0.0" in out
