"""Nothing that identifies a patient is kept or said, at any moment, in any form, encrypted or not."""

import base64
import json
import logging
import shutil
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.common.serde import recorddict_to_proto as to_proto
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import UID

import client.cache.shards
import client.intake.ingest
from client.cache.cipher import KEY_VARIABLE
from client.cache.layout import cache_path
from client.cache.records import CacheDamaged, open_cache_of, verify_cache
from client.config import SiteConfig, StatisticsPolicy
from client.dicom.outcome import Identity, Outcome, Report
from client.dicom.reader import read_file
from client.inspection.page import inspect, write_page
from client.intake.ingest import NoUsableRadiograph, ingest
from client.rounds import answer
from client.statistics import answer_counts
from federation.config import ModelChoice, RoundRules, StudyConfig, study_json
from federation.messages import CountsRequest, Instruction, SiteCounts
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from federation.wire.counts import pack_counts
from federation.wire.rounds import pack_answer
from model.conditioning import FINDINGS
from server.start import starting_weights
from simulation.hospitals import CLINIC
from simulation.phantom_sites import write_phantom_site

SIZE = 32
LOCAL = LocalTraining(local_steps=2, batch_size=2, learning_rate=1e-3)
PLANTED = {
    "PatientName": "ZEBRA^QUAGGA",
    "PatientID": "OKAPI-4711-",
    "OtherPatientIDs": "OKAPI-0815-",
    "AccessionNumber": "GNU-17171-",
    "StudyID": "GNU-18181-",
    "InstitutionName": "TAPIR CLINIC",
    "OperatorsName": "TAPIR^OPERATOR",
    "StationName": "TAPIR-ROOM-",
    "DeviceSerialNumber": "TAPIR-SERIAL-",
    "PatientComments": "comes from LEMURIA",
}
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
DATES = {"PatientBirthDate": "19010203", "StudyDate": "20240917", "AcquisitionDate": "20240918"}
_TELLING = 8
"""Shorter pieces stand in random bytes by chance."""
SPOKEN = "Mr Quagga of Lemuria has a pneumothorax."


def identifiers(num_files: int) -> set[str]:
    """Everything planted: header values, names of files and folders, words of a report."""
    values = {*PLANTED.values(), *DATES.values(), "LEMURIA", "Lemuria", "QUAGGA", "Quagga"}
    uids = {f"1.2.987654.{place}." for place in range(len(UIDS))}
    return values | uids | {"ward-nyala", "NYALA-JANE", f"OKAPI-4711-{num_files - 1}"}


def forms_of(identifier: str) -> Iterator[bytes]:
    """How an identifier may stand among other bytes."""
    for text in {identifier, identifier.lower(), identifier[::-1]}:
        for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
            content = text.encode(code)
            yield from (content, content.hex().encode(), content.hex().upper().encode())
            for shift in range(3):
                whole = base64.b64encode(bytes(shift) + content)
                inner = whole[4 if shift else 0 : -4]
                if len(inner) >= _TELLING:
                    yield inner


def assert_clean(kept: dict[str, bytes], num_files: int) -> None:
    forms = {form: each for each in identifiers(num_files) for form in forms_of(each)}
    heads = np.array([int.from_bytes(form[:4], "little") for form in forms], "<u4")
    for place, content in kept.items():
        present = set(np.intersect1d(heads, fours_of(content)).tolist())
        for (form, identifier), head in zip(forms.items(), heads.tolist(), strict=True):
            assert head not in present or form not in content, (identifier, form, place)


def fours_of(content: bytes) -> NDArray[np.uint32]:
    """Every four bytes that stand beside each other: few of thousands of forms begin with any of them."""
    padded, count = content + bytes(7), len(content) // 4 + 1
    return np.concatenate([np.frombuffer(padded, "<u4", count, start) for start in range(4)])


def kept_below(folder: Path) -> dict[str, bytes]:
    """Names and contents of everything in a folder."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {"names": names.encode(), **{name: path.read_bytes() for name, path in files.items()}}


@pytest.fixture
def site(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteConfig:
    """A hospital whose every header value, file name and report could betray somebody."""
    monkeypatch.setattr(client.intake.ingest, "read_all", read_here)
    monkeypatch.setattr(client.cache.shards, "MAX_RECORDS", 3)
    data = memory_path / "data"
    write_phantom_site(data, replace(CLINIC, num_records=10, num_broken=4), FINDINGS, 48)
    (data / "dicom" / "000").rename(data / "dicom" / "ward-nyala")
    for number, path in enumerate(sorted((data / "dicom" / "ward-nyala").iterdir())):
        plant(path, number)
        path.rename(path.with_name(f"NYALA-JANE-{number}.dcm"))
    lines = (data / "labels.csv").read_text().splitlines()
    rows = [f"1.2.987654.1.{n},{line.partition(',')[2]}" for n, line in enumerate(lines[1:])]
    (data / "labels.csv").write_text("\n".join([lines[0], *rows, "1.2.987654.1.99,ZEBRA^QUAGGA"]))
    (data / "objecting.txt").write_text("OKAPI-4711-1\n")
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=memory_path / "ca.crt",
        data_path=data / "dicom",
        labels_path=data / "labels.csv",
        opt_out_path=data / "objecting.txt",
        state_path=memory_path / "state",
        image_size=SIZE,
    )


def plant(path: Path, number: int) -> None:
    radiograph = dcmread(path)
    for keyword, value in PLANTED.items():
        setattr(radiograph, keyword, f"{value}{number}" if value.endswith("-") else value)
    for place, keyword in enumerate(UIDS):
        setattr(radiograph, keyword, UID(f"1.2.987654.{place}.{number}"))
    for keyword, value in DATES.items():
        setattr(radiograph, keyword, value)
    radiograph.save_as(path)


def read_here(
    jobs: Iterator[tuple[object, Path]], **settings: object
) -> Generator[tuple[object, Outcome], None, None]:
    """Read in this process; one of the radiographs is a report."""
    del settings["num_workers"]
    for job, path in jobs:
        if path.name.endswith("-5.dcm"):
            who = Identity(
                instance_uid="1.2.987654.0.5",
                study_uid="1.2.987654.1.6",
                accession="GNU-17171-6",
                patient_id="OKAPI-4711-6",
                issuer="TAPIR CLINIC",
            )
            yield job, Report(identity=who, statements=(SPOKEN,))
        else:
            yield job, read_file(path, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [None, "5a" * 32])
def test_nothing_that_identifies_a_patient_is_kept_or_said(
    site: SiteConfig,
    key: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if key:
        monkeypatch.setenv(KEY_VARIABLE, key)
    caplog.set_level(logging.DEBUG)
    kept: dict[str, bytes] = {}

    def look(number: int, _: int) -> None:  # while the journal's log is not yet folded in
        kept.update({f"{number}/{name}": c for name, c in kept_below(site.state_path).items()})

    done = ingest(site, on_progress=look)
    assert (done.tally.num_usable, done.tally.num_reports) == (8, 1)
    assert any("-wal" in name for name in kept)
    kept |= kept_below(site.state_path)
    sayings = [str(done), repr(done), json.dumps(done.to_json()), repr(open_cache_of(site))]
    sayings += errors_of(site)
    kept["said"] = "\n".join([*sayings, caplog.text, *capfd.readouterr()]).encode()
    assert b"ingest finished: usable=8" in kept["said"]
    assert_clean(kept, 10)


def errors_of(site: SiteConfig) -> list[str]:
    """What is said when things go wrong."""
    assert site.data_path is not None
    errors: list[Exception] = []
    shutil.rmtree(site.data_path / "ward-nyala")
    for path in (site.data_path / "other").iterdir():
        path.write_text("ZEBRA^QUAGGA")
    for attempt in (lambda: ingest(site), lambda: damaged(site)):
        with pytest.raises((NoUsableRadiograph, CacheDamaged)) as raised:
            attempt()
        errors.append(raised.value)
    return [f"{error} {error!r} {error.__context__!r}" for error in errors]


def damaged(site: SiteConfig) -> None:
    from client.cache.cipher import load_key

    for shard in cache_path(site).glob("stock-*/*.shard"):
        content = bytearray(shard.read_bytes())
        content[50] ^= 1
        shard.write_bytes(content)
    verify_cache(cache_path(site), load_key(None))


def test_the_scan_finds_what_stands_there_in_any_form() -> None:
    for form in forms_of("OKAPI-4711-"):
        for place in range(4):
            with pytest.raises(AssertionError):
                assert_clean({"file": b"xyz"[:place] + form + b"z"}, 3)
    for code in ("utf-8", "utf-16-le"):
        for before in (b"", b"a", b"ab", b"abc"):
            hidden = base64.b64encode(before + "OKAPI-4711-2".encode(code) + b"tail")
            with pytest.raises(AssertionError):
                assert_clean({"file": hidden}, 3)


def test_with_encryption_no_row_of_pixels_stands_in_clear_at_any_moment(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}
    for key in ("5a" * 32, ""):
        if not key:
            monkeypatch.delenv(KEY_VARIABLE)
        else:
            monkeypatch.setenv(KEY_VARIABLE, key)
        kept: list[bytes] = []
        fresh = replace(site, state_path=site.state_path.with_name(f"state{len(key)}"))
        ingest(fresh, on_progress=lambda *_: kept.extend(kept_below(fresh.state_path).values()))  # noqa: B023
        kept += kept_below(fresh.state_path).values()
        images = open_cache_of(fresh).images[:]
        rows = {row.tobytes() for row in images.reshape(-1, SIZE) if len(set(row.tolist())) > 4}
        assert len(rows) > 8 * SIZE // 2
        everything = b"\0".join(kept)
        seen[key] = {row.hex() for row in rows if row in everything}
    assert not seen["5a" * 32]
    assert len(seen[""]) > 8 * SIZE // 2


def test_nothing_that_identifies_a_patient_leaves_or_is_shown(site: SiteConfig) -> None:
    site = replace(site, share_counts=True)
    ingest(site)
    study = StudyConfig(
        name="scan",
        seed=1,
        model=ModelChoice(size="tiny", image_size=SIZE),
        rounds=RoundRules(num_sites=1, min_sites=1),
        stages=(FullStage(kind="full", num_rounds=1, local=LOCAL),),
    )
    weights = starting_weights(study, 0, None, site.state_path / "start.safetensors")
    instruction = Instruction(
        study=study_json(study), round_number=1, weights=inline_shipment(weights)
    )
    request = CountsRequest(findings=site.findings)
    messages = {"update": pack_answer(answer(site, instruction))}
    for epsilon in (None, 1.0):
        policy = StatisticsPolicy(share=True, min_cell=1, epsilon=epsilon)
        counts = answer_counts(replace(site, statistics=policy), request)
        assert isinstance(counts, SiteCounts)
        messages[f"counts {epsilon}"] = pack_counts(counts, request)
    sent = {name: to_proto(record).SerializeToString() for name, record in messages.items()}
    assert min(map(len, sent.values())) > 200  # every one of them says something
    page = site.state_path / "inspect.html"
    write_page(inspect(site), page, seed=0)
    sent["page as JSON"] = json.dumps(inspect(site).to_json()).encode()
    assert_clean(sent | kept_below(site.state_path), 10)
