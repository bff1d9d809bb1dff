"""Radiographs go into a real PACS and come out of it, asked for and pushed, as they went in."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    UID,
    CTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
)

from client.config import Dicomweb, Peer, Receiver, SiteConfig
from client.doctor import sources
from client.doctor.hospital import Hospital, hospital_of
from client.intake.ingest import ingest
from client.sources.configured import sources_of
from client.sources.dicomweb import DicomwebSource
from client.sources.item import Item, Source, SourceFailed
from client.sources.listener import AddressUnknown
from federation.diagnosis import Finding, Job, Verdict
from federation.processes import free_port
from simulation.dicom_writer import uid_of
from tests.pacs.orthanc import (
    PASSWORD,
    PLUGINS,
    TITLE,
    USER,
    Pacs,
    orthanc,
    settings_of,
    write_as,
    write_studies,
)
from tests.pacs.receiving import receiving

UNSENDABLE = {HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL}
"""Younger than the library that Orthanc sends with."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("Orthanc") is None or not (PLUGINS / "libOrthancDicomWeb.so").exists(),
        reason="Orthanc and its DICOMweb plugin are not installed",
    ),
]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    folder = tmp_path_factory.mktemp("orthanc")
    password_path = folder / "password"
    password_path.write_text(f"{PASSWORD}\n")
    password_path.chmod(0o600)
    http, dicom, push = free_port(), free_port(), free_port()
    site = SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=folder / "ca.crt",
        state_path=folder / "state",
        image_size=16,
        dicomweb=Dicomweb(
            url=f"http://127.0.0.1:{http}/dicom-web/", user=USER, password_path=password_path
        ),
        receiver=Receiver(peers=(Peer(ae_title=TITLE, host="localhost", port=dicom),), port=push),
    )
    pacs = Pacs(url=f"http://127.0.0.1:{http}", site=site, files=write_studies(folder))
    with orthanc(folder, settings_of(folder, http=http, dicom=dicom, push=push)):
        for path in pacs.files.values():
            pacs.ask("POST", "/instances", path.read_bytes())
        yield pacs


@pytest.fixture
def asked(pacs: Pacs) -> DicomwebSource:
    return source_of(pacs)


def source_of(
    pacs: Pacs,
    **changes: Any,  # noqa: ANN401
) -> DicomwebSource:
    assert pacs.site.dicomweb is not None
    return DicomwebSource(
        replace(pacs.site.dicomweb, **changes), max_file_bytes=2**28, pauses=(0.01,)
    )


def uid_in(item: Item) -> str:
    return item.name.rpartition("/")[2]


def same_radiograph(path: Path, other: Path) -> bool:
    """Whether two files hold the same data set in the same encoding; who wrote them may differ."""
    first, second = dcmread(path), dcmread(other)
    syntaxes = {file.file_meta.TransferSyntaxUID for file in (first, second)}
    return first == second and len(syntaxes) == 1


def test_every_radiograph_is_offered_and_arrives_as_it_went_in(
    pacs: Pacs, asked: DicomwebSource, tmp_path: Path
) -> None:
    items = list(asked.items())
    assert {uid_in(item) for item in items} == pacs.files.keys()
    for item in items:
        path = asked.file_of(item, tmp_path)
        assert same_radiograph(path, pacs.files[uid_in(item)])
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(tmp_path.iterdir())) == len(items)


def test_a_second_look_finds_the_same_items_in_the_same_order(
    pacs: Pacs, asked: DicomwebSource
) -> None:
    assert list(asked.items()) == list(source_of(pacs).items())


def test_only_the_asked_days_and_modalities_are_offered(pacs: Pacs) -> None:
    days = source_of(pacs, since=date(2024, 1, 3), until=date(2024, 1, 5))
    chosen = {str(dcmread(pacs.files[uid_in(item)]).StudyDate) for item in days.items()}
    assert chosen == {"20240103", "20240104", "20240105"}
    assert len(list(source_of(pacs, since=date(2024, 1, 15)).items())) == 2
    assert list(source_of(pacs, modalities=("CR",)).items()) == []


def test_what_is_no_radiograph_is_not_asked_for(pacs: Pacs, tmp_path: Path) -> None:
    radiograph = next(iter(pacs.files.values()))
    same_study, other_study = str(dcmread(radiograph).StudyInstanceUID), uid_of("other")
    others = (
        write_as(tmp_path / "ct", radiograph, CTImageStorage, "CT", study=other_study),
        write_as(
            tmp_path / "pr",
            radiograph,
            GrayscaleSoftcopyPresentationStateStorage,
            "PR",
            study=same_study,
        ),
    )
    for path in others:
        stored = pacs.ask("POST", "/instances", path.read_bytes())
        try:
            assert {uid_in(i) for i in source_of(pacs).items()} == pacs.files.keys()
            everything = source_of(pacs, modalities=("DX", "CT", "PR"))
            assert {uid_in(i) for i in everything.items()} == pacs.files.keys()
        finally:
            assert isinstance(stored, dict)
            pacs.ask("DELETE", f"/instances/{stored['ID']}")


@contextmanager
def without_a_study(pacs: Pacs) -> Iterator[str]:
    """Delete a study for a while; gives its radiograph's SOP instance UID."""
    gone, path = next(iter(pacs.files.items()))
    (study,) = pacs.studies_of([path])
    pacs.ask("DELETE", study)
    try:
        yield gone
    finally:
        pacs.ask("POST", "/instances", path.read_bytes())


def test_a_study_that_is_deleted_is_no_longer_offered(pacs: Pacs, asked: DicomwebSource) -> None:
    before = {uid_in(item) for item in asked.items()}
    with without_a_study(pacs) as gone:
        assert before - {uid_in(item) for item in asked.items()} == {gone}


def test_only_what_is_new_is_fetched_and_what_is_deleted_leaves_the_cache(
    pacs: Pacs, tmp_path: Path
) -> None:
    site = replace(pacs.site, state_path=tmp_path / "state", receiver=None)
    first = ingest(site, num_workers=1)
    assert (first.num_read, first.tally.num_usable) == (len(pacs.files), len(pacs.files))
    second = ingest(site, num_workers=1)
    assert (second.num_read, second.num_gone) == (0, 0)
    with without_a_study(pacs):
        third = ingest(site, num_workers=1)
    assert (third.num_read, third.num_gone) == (0, 1)
    assert third.tally.num_usable == len(pacs.files) - 1


def test_a_wrong_password_is_told_with_whose_job_it_is(pacs: Pacs, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("guessed")
    wrong.chmod(0o600)
    with pytest.raises(
        SourceFailed, match=r"refuses access .* `user` and the file `password_path`"
    ):
        list(source_of(pacs, password_path=wrong).items())


def test_an_address_that_is_not_dicomweb_is_told(pacs: Pacs) -> None:
    with pytest.raises(SourceFailed, match="is not DICOMweb"):
        list(source_of(pacs, url=f"{pacs.url}/app").items())


def test_no_library_says_whom_it_asked_about(
    pacs: Pacs, asked: DicomwebSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for item in asked.items():
            asked.file_of(item, tmp_path)
    assert not [uid for uid in pacs.files if uid in caplog.text]
    assert "SYN" not in caplog.text


def test_what_the_pacs_pushes_waits_as_it_went_in_until_it_is_in_the_cache(
    pacs: Pacs, tmp_path: Path
) -> None:
    site = replace(pacs.site, state_path=tmp_path / "state", dicomweb=None)
    files = {uid: path for uid, path in pacs.files.items() if syntax_of(path) not in UNSENDABLE}
    with receiving(site) as told:
        pacs.push(files.values())
        pacs.push(files.values())
    received = [facts for facts in told if facts["state"] == "received"]
    assert sum(int(str(facts["stored"])) for facts in received) == 2 * len(files)
    (source,) = sources_of(site)
    items = list(source.items())
    waiting = {str(dcmread(path).SOPInstanceUID): path for path in files_of(source, items)}
    assert waiting.keys() == files.keys()
    assert all(same_radiograph(waiting[uid], path) for uid, path in files.items())
    assert not [item for item in items if any(uid in item.name for uid in files)]
    assert ingest(site, num_workers=1).tally.num_usable == len(files)
    assert list(source.items()) == []


def looked_at(question: Callable[[Hospital], Finding], site: SiteConfig) -> Finding:
    return question(hospital_of(site, Path("site.yaml"), None))


def test_the_doctor_asks_the_pacs_for_one_study_and_tells_what_is_wrong(
    pacs: Pacs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = pacs.site.dicomweb
    assert config is not None
    well = looked_at(sources.pacs, pacs.site)
    assert well.verdict is Verdict.OK, well
    assert looked_at(sources.pacs, replace(pacs.site, dicomweb=None)).verdict is Verdict.SKIPPED
    wrong = tmp_path / "password"
    wrong.write_text("guessed")
    wrong.chmod(0o600)
    for changes, job, words in (
        ({"password_path": wrong}, Job.DATA_MANAGER, "refuses access"),
        ({"password_path": tmp_path / "none"}, Job.DATA_MANAGER, "cannot be used"),
        ({"url": f"{pacs.url}/app"}, Job.DATA_MANAGER, "is not DICOMweb"),
        ({"url": f"http://127.0.0.1:{free_port()}"}, Job.NETWORK, "cannot be asked now"),
    ):
        changed = replace(config, **changes)
        found = looked_at(sources.pacs, replace(pacs.site, dicomweb=changed))
        assert (found.verdict, found.job) == (Verdict.FAIL, job), found
        assert words in found.sentence
        assert found.next_step
    assert "SYN" not in caplog.text


def test_the_doctor_has_the_pacs_that_pushes_answer_an_echo_and_looks_for_the_receiver(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pacs.site.receiver
    assert config is not None
    site = replace(pacs.site, state_path=tmp_path / "state", dicomweb=None)
    nothing_pushed = replace(site, receiver=None, data_path=tmp_path)
    assert looked_at(sources.receiver, nothing_pushed).verdict is Verdict.SKIPPED
    idle = looked_at(sources.receiver, site)
    assert (idle.verdict, idle.job) == (Verdict.WARN, Job.DATA_MANAGER)
    assert "fedcxr hospital receive" in idle.next_step
    with receiving(site):
        well = looked_at(sources.receiver, site)
    assert well.verdict is Verdict.OK, well
    assert "1 of 1 peer(s)" in well.sentence
    gone = replace(config, peers=(replace(config.peers[0], port=free_port()),))
    found = looked_at(sources.receiver, replace(site, receiver=gone))
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.NETWORK)
    assert "does not answer" in found.sentence

    def unknown(host: str) -> frozenset[str]:
        raise AddressUnknown(host)

    monkeypatch.setattr(sources, "addresses_of", unknown)
    found = looked_at(sources.receiver, site)
    assert (found.verdict, found.job) == (Verdict.FAIL, Job.DATA_MANAGER)
    assert "is not known" in found.sentence


def syntax_of(path: Path) -> UID:
    syntax: UID = dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    return syntax


def files_of(source: Source, items: list[Item]) -> list[Path]:
    return [source.file_of(item, Path("unused")) for item in items]
