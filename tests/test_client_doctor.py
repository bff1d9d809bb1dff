"""A hospital looked over: everything well where it is well, and each fault named, with its owner and what to type."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from client.cache.layout import CURRENT, cache_path
from client.config import SiteConfig, TrainingMachine
from client.control.limits import Limits
from client.control.orders import change_orders, order
from client.doctor import (
    coordinator,
    data,
    forecast,
    giving,
    keeping,
    machine,
    privacy,
    settings,
    trust,
)
from client.doctor.checks import CHECKS
from client.doctor.hospital import Hospital, hospital_of
from client.doctor.speed import Speed
from client.evidence.log import Event, log_path, note
from client.intake.ingest import ingest
from client.plans.store import find_plan, keep_plan, put_approval
from federation.config import StudyConfig, load_study
from federation.diagnosis import Finding, Job, Verdict, diagnosis_text, examine
from federation.plan import SignedPlan, parse_plan
from tests.faults.public_port import PublicPort, signer, write_certificate

if TYPE_CHECKING:
    from pydicom import FileDataset

Look = Callable[[Hospital], Finding]
STUDY = Path(__file__).parent.parent / "configs" / "smoke.yaml"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment that means something."""
    for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith("FEDCXR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def study() -> StudyConfig:
    """The smoke test's."""
    return load_study(STUDY)


@pytest.fixture
def site(
    tmp_path: Path,
    joined: Callable[[SiteConfig], SiteConfig],
    radiograph_of: Callable[..., "FileDataset"],
) -> SiteConfig:
    """A hospital with one radiograph, that nobody has ingested yet."""
    from simulation.dicom_writer import write_radiograph

    (tmp_path / "data").mkdir()
    write_radiograph(tmp_path / "data" / "1.dcm", radiograph_of())
    (tmp_path / "data" / "read.me").write_text("DOE^JOHN")
    site = SiteConfig(
        site_name="a",
        coordinator="localhost:9",
        ca_path=tmp_path / "ca.crt",
        data_path=tmp_path / "data",
        state_path=tmp_path / "state",
        image_size=32,
    )
    site.state_path.mkdir(mode=0o700)
    return joined(site)


@pytest.fixture
def look(site: SiteConfig) -> Callable[..., Finding]:
    """Asks one question about the hospital, changed by keywords."""

    def ask(question: Look, study: StudyConfig | None = None, **changes: object) -> Finding:
        changed = replace(site, **changes)  # type: ignore[arg-type]
        return question(hospital_of(changed, Path("site.yaml"), study))

    return ask


def approve(site: SiteConfig, signed: SignedPlan) -> None:
    keep_plan(site.state_path, signed, parse_plan(signed.text))
    put_approval(site.state_path, find_plan(site.state_path, signed.digest), "Dr Adams")


@pytest.mark.slow
def test_a_hospital_that_is_well_has_nothing_to_mend_and_is_told_so_in_time(
    tmp_path: Path,
    site: SiteConfig,
    study: StudyConfig,
    plan_of: Callable[..., SignedPlan],
) -> None:
    authority = signer("fedcxr authority")
    authority.write(site.ca_path)
    ingest(site, num_workers=1)
    note(site.state_path, Event.JOINED, actor="tests")
    approve(site, plan_of(study))
    with PublicPort(write_certificate(tmp_path, authority)) as running:
        profile = replace(site, coordinator=f"localhost:{running.port}")
        started = time.monotonic()
        examined = examine(hospital_of(profile, Path("site.yaml"), study), CHECKS)
    told = diagnosis_text(examined, seconds=0)
    assert time.monotonic() - started < 30
    assert len(examined) >= 20
    assert len({each.name for each in examined}) == len(examined)
    needs = {e.name for e in examined if e.finding.verdict in {Verdict.WARN, Verdict.FAIL}}
    assert needs <= {"node", "data-mount"}, told
    assert "DOE" not in told
    assert "1.dcm" not in told


def test_what_the_doctor_says_of_a_hospital_that_is_not_ready_has_an_owner_each(
    site: SiteConfig,
) -> None:
    fast = [check for check in CHECKS if check.name not in {"gpu", "sample-read"}]
    examined = examine(hospital_of(site, Path("site.yaml"), None), fast)
    not_well = [e.finding for e in examined if e.finding.verdict in {Verdict.WARN, Verdict.FAIL}]
    assert len(not_well) >= 4
    assert all(finding.job and finding.next_step for finding in not_well)
    assert not any("check itself broke" in finding.sentence for finding in not_well)


def test_a_folder_that_can_be_written_to_is_a_warning_and_a_missing_one_a_failure(
    tmp_path: Path, look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(data.data_mount).verdict is Verdict.WARN
    missing = look(data.data_mount, data_path=tmp_path / "absent")
    assert (missing.verdict, missing.job) == (Verdict.FAIL, Job.MACHINE)
    reads = os.R_OK | os.X_OK
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == reads)
    assert look(data.data_mount).verdict is Verdict.OK


@pytest.mark.slow
def test_files_that_are_no_radiographs_are_counted_by_reason_and_never_named(
    tmp_path: Path, look: Callable[..., Finding]
) -> None:
    (tmp_path / "other").mkdir()
    for number in range(3):
        (tmp_path / "other" / f"DOE-{number}.txt").write_text("DOE^JOHN")
    found = look(data.sample_read, data_path=tmp_path / "other")
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.DATA_MANAGER)
    assert "3 not DICOM" in found.sentence
    assert "DOE" not in found.sentence + found.next_step


def test_a_decoder_that_was_left_out_is_noticed(
    look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(data.decoders).verdict is Verdict.OK

    def absent(_: object) -> bytes:
        raise ImportError

    monkeypatch.setattr("imagecodecs.jpegls_decode", absent)
    found = look(data.decoders)
    assert found.verdict is Verdict.FAIL
    assert "jpegls" in found.sentence


def test_a_secret_that_others_can_read_and_a_file_that_is_not_there_are_noticed(
    tmp_path: Path, look: Callable[..., Finding]
) -> None:
    assert look(data.named_files).verdict is Verdict.OK
    key = tmp_path / "cache.key"
    key.write_text("0" * 64)
    key.chmod(0o644)
    found = look(data.named_files, cache_key_path=key)
    assert f"chmod 600 {key}" in found.next_step
    assert look(data.named_files, labels_path=tmp_path / "no.csv").verdict is Verdict.FAIL


def test_a_state_folder_that_others_may_enter_or_that_is_anothers_is_noticed(
    site: SiteConfig, look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(keeping.state_folder).verdict is Verdict.OK
    site.state_path.chmod(0o755)
    assert "chmod -R go=" in look(keeping.state_folder).next_step
    site.state_path.chmod(0o700)
    (site.state_path / "node.key").write_text("secret")
    (site.state_path / "node.key").chmod(0o640)
    assert "node.key is open" in look(keeping.state_folder).sentence
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    found = look(keeping.state_folder)
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.MACHINE)
    assert "chown" in found.next_step


def test_a_cache_that_is_missing_old_damaged_or_of_another_size_is_noticed(
    site: SiteConfig, look: Callable[..., Finding], study: StudyConfig
) -> None:
    assert "nothing has been ingested" in look(keeping.cache).sentence
    assert look(keeping.freshness).verdict is Verdict.SKIPPED
    ingest(site, num_workers=1)
    assert look(keeping.cache, study).verdict is Verdict.OK
    assert look(keeping.freshness).verdict is Verdict.OK
    assert look(keeping.cache, image_size=64).verdict is Verdict.FAIL
    other = replace(study, model=replace(study.model, image_size=64))
    assert "needs 64 pixels" in look(keeping.cache, other).sentence
    changed = replace(site.reading, max_pixels=site.reading.max_pixels - 1)
    assert "settings" in look(keeping.freshness, reading=changed).sentence
    current = cache_path(site) / CURRENT
    os.utime(current, (1, 1))
    assert "data folder has changed" in look(keeping.freshness).sentence
    os.utime(site.data_path or Path(), (0, 0))
    assert "days ago" in look(keeping.freshness).sentence
    current.write_text("version-none 00")
    assert look(keeping.cache).verdict is Verdict.FAIL


def test_no_policy_a_broken_one_and_one_that_refuses_the_study_are_the_officers(
    site: SiteConfig, look: Callable[..., Finding], study: StudyConfig
) -> None:
    path = site.privacy_path
    assert path is not None
    assert look(privacy.policy, study).verdict is Verdict.OK
    assert look(privacy.policy, privacy_path=None).verdict is Verdict.FAIL
    assert look(privacy.ledger, privacy_path=None).verdict is Verdict.SKIPPED
    path.write_text(path.read_text().replace("only_private: false", "only_private: true"))
    refused = look(privacy.policy, study)
    assert (refused.verdict, refused.job) == (Verdict.WARN, Job.OFFICER)
    assert "without differential privacy" in refused.sentence
    path.write_text("max_epsilon: 1.0\n")
    assert look(privacy.policy).verdict is Verdict.FAIL


def test_a_ledger_and_a_log_that_were_changed_are_noticed(
    site: SiteConfig, look: Callable[..., Finding]
) -> None:
    assert look(privacy.ledger).verdict is look(trust.evidence).verdict is Verdict.OK
    for _ in range(2):
        note(site.state_path, Event.PAUSED, actor="tests")
    path = log_path(site.state_path)
    path.write_text(path.read_text().replace("paused", "resumed", 1))
    assert (look(trust.evidence).verdict, look(trust.evidence).job) == (Verdict.FAIL, Job.OFFICER)
    ledger = (site.privacy_path or Path()).parent / "privacy.ledger"
    ledger.write_text('{"no": "ledger"}\n{"of": "ours"}\n')
    assert look(privacy.ledger).verdict is Verdict.FAIL


def test_a_plan_is_skipped_before_it_arrives_fails_until_approved_and_warns_when_over(
    site: SiteConfig,
    look: Callable[..., Finding],
    study: StudyConfig,
    plan_of: Callable[..., SignedPlan],
) -> None:
    assert look(trust.plan).verdict is look(trust.code).verdict is Verdict.SKIPPED
    signed = plan_of(study)
    keep_plan(site.state_path, signed, parse_plan(signed.text))
    waiting = look(trust.plan)
    assert (waiting.verdict, waiting.job) == (Verdict.FAIL, Job.OFFICER)
    assert "fedcxr hospital review" in waiting.next_step
    approve(site, signed)
    assert look(trust.plan).verdict is look(trust.code).verdict is Verdict.OK
    approve(site, plan_of(study, ends=date(2020, 1, 1), issued=2, code_digest="1" * 64))
    assert "ended on 2020-01-01" in look(trust.plan).sentence
    assert look(trust.code).verdict is Verdict.FAIL


def test_without_the_study_authoritys_key_no_plan_can_be_told_from_a_forged_one(
    look: Callable[..., Finding],
) -> None:
    assert look(trust.authority_key).verdict is Verdict.OK
    assert look(trust.authority_key, authority_path=None).verdict is Verdict.FAIL


def test_orders_and_quiet_hours_of_the_hospital_are_told(
    site: SiteConfig, look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(giving.orders).verdict is look(giving.quiet_hours).verdict is Verdict.OK
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    day = datetime.now(UTC).astimezone().strftime("%a").lower()
    quiet = Limits(quiet_hours=(f"{day} 00:00-24:00",))
    found = look(giving.quiet_hours, limits=quiet)
    monkeypatch.delenv("TZ")
    time.tzset()
    assert found.verdict is Verdict.WARN
    assert "CE" in found.sentence  # CET or CEST
    change_orders(site.state_path, lambda orders: replace(orders, paused=order("Adams")))
    paused = look(giving.orders)
    assert paused.verdict is Verdict.WARN
    assert "fedcxr hospital resume" in paused.next_step


def test_a_quota_and_a_disk_that_a_study_does_not_fit_on_are_noticed(
    look: Callable[..., Finding], study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(giving.quota).verdict is Verdict.SKIPPED
    assert look(giving.quota, limits=Limits(disk_bytes=10**9)).verdict is Verdict.OK
    assert look(giving.quota, study, limits=Limits(disk_bytes=10**6)).verdict is Verdict.FAIL
    assert look(machine.disk, study).verdict is Verdict.OK
    monkeypatch.setattr(machine, "SPARE_DISK_BYTES", 10**18)
    assert "df -h" in look(machine.disk).next_step


def test_memory_that_is_too_small_and_a_gpu_that_went_away_are_the_machines(
    tmp_path: Path,
    look: Callable[..., Finding],
    study: StudyConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert look(machine.memory).verdict is Verdict.SKIPPED
    assert look(machine.memory, study).verdict is Verdict.OK
    limit = tmp_path / "memory.max"
    limit.write_text("1000000")
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (limit,))
    small = look(machine.memory, study)
    assert (small.verdict, small.job) == (Verdict.FAIL, Job.MACHINE)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(machine, "GPU_DEVICES", tmp_path)
    gone = look(machine.gpu)
    assert (gone.verdict, gone.job) == (Verdict.FAIL, Job.MACHINE)
    assert "nvidia-smi" in gone.next_step
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert look(machine.gpu).verdict is Verdict.OK
    absent = look(machine.gpu, limits=Limits(gpus=(1, 2)))
    assert (absent.verdict, absent.job) == (Verdict.FAIL, Job.DATA_MANAGER)
    assert "names GPU 2" in absent.sentence
    several = TrainingMachine(processes=2)
    assert look(machine.gpu, limits=Limits(gpus=(1,)), training=several).verdict is Verdict.WARN
    assert look(machine.processors, num_threads=4096).verdict is Verdict.WARN


def test_shared_memory_of_a_container_is_measured(
    tmp_path: Path, look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "absent")
    assert look(machine.shared_memory).verdict is Verdict.FAIL
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(machine, "MIN_SHARED_BYTES", 10**18)
    assert "shm_size" in look(machine.shared_memory).next_step


def test_a_round_that_takes_longer_than_the_coordinator_waits_is_told(
    look: Callable[..., Finding], study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "measured_flops", lambda _threads: 1e12)
    assert look(forecast.round_time, study).verdict is Verdict.OK
    slow = Limits(upload_bytes_per_second=20_000, download_bytes_per_second=20_000)
    found = look(forecast.round_time, study, limits=slow)
    assert (found.verdict, found.job) == (Verdict.WARN, Job.COORDINATOR)
    assert look(forecast.round_time).verdict is Verdict.SKIPPED


def test_a_line_that_was_measured_is_told_and_counts_in_the_forecast(
    look: Callable[..., Finding], study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(coordinator.bandwidth).verdict is Verdict.SKIPPED
    monkeypatch.setattr(forecast, "measured_flops", lambda _threads: 1e12)
    monkeypatch.setattr(
        "client.doctor.hospital._speed_of", lambda *_: Speed(down=1e6, up=100_000.0)
    )
    assert "8 Mbit/s in, 0.8 Mbit/s out" in look(coordinator.bandwidth).sentence
    found = look(forecast.round_time, study)
    assert found.verdict is Verdict.OK
    assert "measured: 8 Mbit/s in" in found.sentence
    monkeypatch.setattr("client.doctor.hospital._speed_of", lambda *_: Speed(down=1e6, up=1000.0))
    assert look(forecast.round_time, study).verdict is Verdict.WARN


def test_a_variable_that_nothing_reads_is_noticed(
    look: Callable[..., Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDCXR_NUM_THREADS", "2")
    assert look(settings.environment).verdict is Verdict.OK
    monkeypatch.setenv("FEDCXR_NUM_THREAD", "2")
    assert "FEDCXR_NUM_THREAD" in look(settings.environment).sentence


@pytest.mark.slow
def test_the_command_says_everything_as_json_and_ends_with_1_if_something_fails(
    tmp_path: Path, site: SiteConfig, fedcxr: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "site.yaml").write_text(
        f"site_name: a\ncoordinator: localhost:9\nca_path: ca.crt\ndata_path: data\nstate_path: {site.state_path}\n"
        "image_size: 32\n"
    )
    code, out, err = fedcxr("doctor", tmp_path / "site.yaml", "--json")
    facts = json.loads(out)
    assert (code, err, facts["ok"], facts["site"]) == (1, "", False, "a")
    assert len(facts["checks"]) == len(CHECKS)
    assert {each["verdict"] for each in facts["checks"]} <= set(Verdict)
