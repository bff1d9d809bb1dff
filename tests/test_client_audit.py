"""An audit of a small model at a hospital of phantoms: what it finds, says and signs, and what it keeps to itself."""

import json
import math
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner

from client.audit.audit import audit
from client.audit.claim import read_promise
from client.audit.cli import check
from client.audit.folder import FolderTaken, verify_audit, write_audit
from client.audit.guessing import guess_members
from client.audit.page import render_page
from client.audit.repeating import compare, gallery
from client.audit.sent import kept_updates
from client.audit.signature import ReportForged
from client.audit.subject import Subject, WrongSubject, open_subject
from client.config import SiteConfig
from client.kept import Asked, KeptRounds, write_finished
from client.packing import pack_change
from client.tally import Tally
from federation.config import Transport
from federation.messages import Update
from federation.node_keys import NodeKey, make_node_key
from model.adapter import initial_adapter
from model.arrays import digest_arrays
from model.checkpoint import network_arrays
from model.conditioning import FINDINGS, Metadata, Schema
from model.config import AdapterConfig
from model.initial import initial_network
from model.tensors import as_tensors
from privacy.accounting.phase import Phase
from privacy.audit.canaries import Plan
from privacy.ledger.ledger import open_ledger, round_key
from simulation.phantom import Phantom
from simulation.style import STYLES
from tests.toys.audited import CONFIG, IMAGES, NUM_PATIENTS, SIDE, STUDY, saved, train

STEPS_OF_BASE, STEPS_BY_HEART = 100, 250
SHORT = Plan(num_steps=2, side=8, num_layers=2)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
DELTA = 1e-3
LOSS = 0.123456789
"""That a kept update has, and that no report may show."""


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Two radiographs each of 24 patients of the cache and then of 10 others, (68, 1, 16, 16) in [-1, 1]."""
    phantom = Phantom(32)
    rendered = [
        phantom.render(
            findings=set(),
            patient_seed=number // IMAGES,
            study_seed=number,
            sex="FM"[number % 4 // 2],
            age=30 + number,
            view="PA",
            style=STYLES["plain"],
        )
        for number in range(IMAGES * (2 * NUM_PATIENTS + 10))
    ]
    small = np.stack(rendered).reshape(len(rendered), SIDE, 2, SIDE, 2).mean((2, 4))
    return torch.from_numpy(small).float()[:, None] * 2 - 1


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Every radiograph of the cache with the same condition."""
    row = Schema().row(
        Metadata(age=50.0, sex="F", view="PA", race=None, site=1, manufacturer=None, findings={})
    )
    return np.tile(row, (2 * NUM_PATIENTS * IMAGES, 1))


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    fill_cache: Callable[..., None],
    pictures: Tensor,
    rows: np.ndarray,
) -> SiteConfig:
    """A hospital with a policy, half of its patients held out."""
    folder = tmp_path_factory.mktemp("hospital")
    numbers = np.arange(len(rows), dtype=np.uint64) // np.uint64(IMAGES)
    (folder / "privacy.yaml").write_text(
        f"data_set: chests\nmax_epsilon: 8.0\ndelta: {DELTA}\nmin_noise_multiplier: 0.5\n"
        "max_sample_rate: 0.5\nmax_local_steps: 50\n"
    )
    site = SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=folder / "ca.crt",
        data_path=folder / "data",
        state_path=folder / "state",
        image_size=SIDE,
        privacy_path=folder / "privacy.yaml",
    )
    count = len(rows)
    fill_cache(
        site.state_path / "cache",
        images=((pictures[:count, 0].numpy() + 1) * 32767.5).astype(np.uint16),
        rows=rows,
        patients=numbers,
        held_out=numbers >= NUM_PATIENTS,
        findings=FINDINGS,
        tally=Tally(
            num_files=count,
            num_usable=count,
            refused={},
            num_patients=2 * NUM_PATIENTS,
            num_held_out=count // 2,
        ),
    )
    return site


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, pictures: Tensor, rows: np.ndarray
) -> dict[str, Path]:
    """A fresh model, one that knows strangers' chests, and one that then learned the hospital's by heart."""
    folder = tmp_path_factory.mktemp("models")
    network = initial_network(CONFIG, Schema(), seed=3)
    fresh = saved(folder / "fresh", network_arrays(network), sites=(), rounds=0)
    train(network, pictures[2 * NUM_PATIENTS * IMAGES :], rows, num_steps=STEPS_OF_BASE)
    arrays = network_arrays(network)
    base = saved(folder / "base", arrays, sites=("b",))
    train(network, pictures[: NUM_PATIENTS * IMAGES], rows, num_steps=STEPS_BY_HEART)
    known = saved(folder / "known", network_arrays(network), parent_digest=digest_arrays(arrays))
    return {"fresh": fresh, "base": base, "known": known}


@pytest.fixture(scope="module")
def subject(site: SiteConfig, models: dict[str, Path]) -> Subject:
    return open_subject(site, models["known"], models["base"])


@pytest.fixture(scope="module")
def charged(site: SiteConfig) -> SiteConfig:
    """The hospital after two rounds of the study: one charged and settled, one that left without."""
    kept = KeptRounds(site.state_path / "studies" / STUDY[:12])
    change = {"head.weight": np.ones((2, 3), np.float32), "head.bias": np.ones(2, np.float32)}
    for number in (1, 2):
        with kept.new_round(number) as folder:
            packed = pack_change(folder, as_tensors(change), Transport(), earlier=None)
            update = Update(
                study_digest=STUDY,
                round_number=number,
                received_digest="b" * 64,
                change=packed.parcel,
                norm=packed.norm,
                num_steps=20,
                loss=LOSS if number == 2 else math.nan,
                held_out_loss=math.nan,
                seconds=0.0,
                num_records=0,
                num_files=0,
            )
            write_finished(folder, update, Asked(study="", base_digest="", trained=()), {})
    phase = Phase(noise_multiplier=2.0, sample_rate=0.1, num_steps=20)
    ledger_path = site.state_path.parent / "privacy.ledger"
    with open_ledger(ledger_path, data_set="chests", delta=DELTA, cap=8.0) as ledger:
        key = round_key(STUDY, 1)
        ledger.reserve(key, phase, study_digest=STUDY)
        ledger.settle(key, num_steps=20, released=digest_arrays(change))
        ledger.reserve(round_key("c" * 64, 1), phase, study_digest="c" * 64)
    return site


@pytest.fixture(scope="module")
def facts(charged: SiteConfig, models: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """One audit, run once; tests only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.audit.repeating.NUM_SAMPLES", 12)
        patch.setattr("client.audit.reading_back.BUDGET_SECONDS", 0.5)
        yield audit(charged, models["known"], base=models["base"], plan=SHORT)


@pytest.fixture(scope="module")
def key(site: SiteConfig) -> NodeKey:
    return make_node_key(site.state_path, site.site_name)


@pytest.fixture
def written(tmp_path: Path, facts: dict[str, Any], key: NodeKey) -> Path:
    write_audit(tmp_path / "audit", facts, key)
    return tmp_path / "audit"


@pytest.mark.slow
def test_patients_learned_by_heart_are_found_and_those_of_a_fresh_model_are_not(
    site: SiteConfig, models: dict[str, Path], subject: Subject
) -> None:
    found = guess_members(subject, seed=1)
    assert found.calibrated is not None
    assert found.calibrated.auc.value > 0.8
    assert (found.raw.num_members, found.raw.num_others) == (NUM_PATIENTS, NUM_PATIENTS)
    fresh = guess_members(open_subject(site, models["fresh"], None), seed=1)
    assert fresh.calibrated is None
    assert fresh.raw.auc.low < 0.5 < fresh.raw.auc.high


def test_a_planted_copy_is_found_among_pictures_of_nobody(pictures: Tensor) -> None:
    half = NUM_PATIENTS * IMAGES
    training, held_out = gallery(pictures[:half]), gallery(pictures[half : 2 * half])
    patients = np.arange(half, dtype=np.uint64) // np.uint64(IMAGES)
    strangers = pictures[2 * half :]
    clean = compare(gallery(strangers), training, held_out, held_out_patients=patients)
    assert clean.num_copies == 0
    noise = torch.randn(strangers[:1].shape, generator=torch.Generator().manual_seed(1))
    planted = torch.cat([strangers, 0.8 * pictures[3:4] + 0.1 + 0.01 * noise])
    found = compare(gallery(planted), training, held_out, held_out_patients=patients)
    assert found.num_clear == 1
    assert found.num_copies >= 1


@pytest.mark.slow
def test_an_audit_says_what_was_promised_sent_and_found(facts: dict[str, Any]) -> None:
    claim = facts["claim"]
    assert claim["adjacency"] == "adding or removing one patient"
    assert claim["epsilon"] > claim["study_epsilon"] > 0
    assert claim["epsilon"] < claim["study_epsilon"] + claim["others_epsilon"]
    assert claim["phases"] == [{"noise_multiplier": 2.0, "sample_rate": 0.1, "num_steps": 20}]
    assert [one["standing"] for one in facts["sent"]] == ["settled", "not charged"]
    assert [one["numbers"] for one in facts["sent"]] == [
        ["norm", "num_steps"],
        ["norm", "num_steps", "loss"],
    ]
    tensor = facts["sent"][0]["tensors"][1]
    assert (tensor["name"], tensor["shape"], tensor["num_bytes"]) == ("head.weight", [2, 3], 24)
    assert facts["base"] == {
        "weights_digest": facts["base"]["weights_digest"],
        "is_parent": True,
        "knows_hospital": False,
    }
    assert facts["membership"]["calibrated"]["auc"]["value"] > 0.8
    assert facts["copies"]["num_samples"] == 12
    assert {"bare", "private", "unrelated"} <= set(facts["inversion"])
    assert facts["verdict"] in {"WARN", "FAIL"}


@pytest.mark.slow
def test_nothing_of_a_patient_and_no_forbidden_word_is_in_the_report(written: Path) -> None:
    for name in ("audit.json", "audit.html"):
        text = (written / name).read_text()
        assert "0.1234" not in text
        assert not re.search(r"num_right|num_guesses|patient_scores", text)
        assert not re.search(r"anonym|re-identif", text, re.IGNORECASE)
        assert "http" not in text.replace("http-equiv", "")
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.iterdir()} == {0o600}
    assert stat.S_IMODE(written.stat().st_mode) == 0o700


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audit.json", "audit.html", "audit.json.sig", "audit.html.sig"])
def test_a_changed_or_missing_file_is_refused(written: Path, key: NodeKey, name: str) -> None:
    assert verify_audit(written, key.public_path)["kind"] == "fedcxr hospital audit"
    path = written / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReportForged, match=r"audit\.(json|html)"):
        verify_audit(written, key.public_path)
    path.unlink()
    with pytest.raises(ReportForged, match="missing"):
        verify_audit(written, key.public_path)


@pytest.mark.slow
def test_another_hospitals_key_does_not_vouch_for_it(written: Path, tmp_path: Path) -> None:
    other = make_node_key(tmp_path / "other", "b")
    with pytest.raises(ReportForged, match="not what this key signed"):
        verify_audit(written, other.public_path)


@pytest.mark.slow
def test_the_verify_command_speaks_and_a_taken_folder_is_refused(
    written: Path, key: NodeKey, facts: dict[str, Any]
) -> None:
    app = typer.Typer()
    app.command()(check)
    done = CliRunner().invoke(app, [str(written), str(key.public_path), "--json"])
    assert json.loads(done.stdout)["signed"] is True
    with pytest.raises(FolderTaken, match="--out"):
        write_audit(written, facts, key)


@pytest.mark.slow
def test_an_audit_that_is_interrupted_leaves_no_folder(
    tmp_path: Path, facts: dict[str, Any], key: NodeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("client.audit.folder.sign", stop)
    with pytest.raises(KeyboardInterrupt):
        write_audit(tmp_path / "audit", facts, key)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_ledger_is_said(charged: SiteConfig, tmp_path: Path) -> None:
    source = charged.state_path.parent
    for name in ("privacy.yaml", "privacy.ledger"):
        shutil.copy(source / name, tmp_path / name)
    here = replace(charged, privacy_path=tmp_path / "privacy.yaml")
    assert read_promise(here, STUDY, None).problems == ()
    text = (tmp_path / "privacy.ledger").read_text()
    (tmp_path / "privacy.ledger").write_text(text.replace('"num_steps":20', '"num_steps":10', 1))
    promise = read_promise(here, STUDY, None)
    assert promise.claim is None
    assert "damaged" in promise.problems[0]


def test_an_update_that_differs_from_what_was_settled_is_noticed(charged: SiteConfig) -> None:
    book = read_promise(charged, STUDY, None).book
    assert book is not None
    (one, _) = kept_updates(charged.state_path, book)
    other = replace(book.charges[round_key(STUDY, 1)], released="d" * 64)
    changed = replace(book, charges={**book.charges, round_key(STUDY, 1): other})
    assert one.standing == "settled"
    assert kept_updates(charged.state_path, changed)[0].standing == "other content"
    assert kept_updates(charged.state_path, None)[0].standing == "not charged"


def test_an_adapter_needs_its_base_and_is_audited_on_it(
    site: SiteConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    config = AdapterConfig(rank=2, alpha=2.0)
    arrays = initial_adapter(CONFIG, config, torch.Generator().manual_seed(1))
    digest = digest_arrays(network_arrays(open_subject(site, models["known"], None).network))
    folder = saved(
        tmp_path / "adapter", arrays, kind="adapter", adapter=config, parent_digest=digest
    )
    with pytest.raises(WrongSubject, match="--base"):
        open_subject(site, folder, None)
    opened = open_subject(site, folder, models["known"])
    assert opened.base_knows_hospital


def test_a_cache_of_another_size_is_refused(site: SiteConfig, tmp_path: Path) -> None:
    config = replace(CONFIG, image_size=32)
    arrays = network_arrays(initial_network(config, Schema(), seed=1))
    with pytest.raises(WrongSubject, match="32-pixel"):
        open_subject(site, saved(tmp_path / "large", arrays, model=config), None)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_the_page_is_one_sheet_of_paper_also_when_much_is_to_be_said(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    term = {
        "max_grad_norm": 0.5,
        "batch_size": 256,
        "local_steps": 20,
        "max_images": 4,
        "num_draws": 8,
    }
    claim = facts["claim"] | {"witness": "coordinator", "terms": [term, term]}
    checks = [check | {"found": check["found"] + " word" * 40} for check in facts["checks"]]
    much = facts | {"claim": claim, "checks": checks, "sent": 5 * facts["sent"], "key": "SHA256:x"}
    page, paper = tmp_path / "audit.html", tmp_path / "audit.pdf"
    page.write_text(render_page(much))
    subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(f"--user-data-dir={tmp_path / 'browser'}", f"--print-to-pdf={paper}", page.as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) == 1
