"""A machine that is known may push radiographs; what it is told is stored is on the disk, whole, and opaque."""

import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from client.config import Peer, Receiver, SiteConfig
from client.dicom.codecs import CODECS
from client.dicom.policy import ReadPolicy
from client.sources.inbox import Status
from client.sources.kinds import PICTURE_SYNTAXES, PLAIN_SYNTAXES, RADIOGRAPHS, REPORTS
from client.sources.listener import AddressUnknown, CannotListen
from client.sources.periodic import every
from client.sources.received import ReceivedSource, keep_received, received_path
from client.sources.receiver import MAX_ASSOCIATIONS, receive
from federation.files import AlreadyRunning
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph

PATIENCE_SECONDS = 20.0
DX = Machine(
    modality="DX", manufacturer="SYN", institution="SYN", bits=12, photometric="MONOCHROME2"
)
THEM, US = "SOMEPACS", "FEDCXR"
Told = list[Mapping[str, object]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return SiteConfig(
        site_name="a",
        coordinator="localhost:1",
        ca_path=tmp_path / "ca.crt",
        state_path=tmp_path / "state",
        image_size=16,
        receiver=Receiver(peers=(Peer(ae_title=THEM, host="127.0.0.1"),), port=free_port()),
    )


def with_receiver(site: SiteConfig, **changes: object) -> SiteConfig:
    assert site.receiver is not None
    return replace(site, receiver=replace(site.receiver, **changes))  # type: ignore[arg-type]


def radiograph(number: int, *, size: int = 24) -> FileDataset:
    study = Study(
        patient_id=f"SYN{number}",
        number=1,
        sex="F",
        age=50,
        view="PA",
        taken=datetime(2024, 1, 2, tzinfo=UTC),
    )
    return build_radiograph(np.random.default_rng(number).random((size, size)), DX, study)


@contextmanager
def receiving(site: SiteConfig) -> Iterator[Told]:
    """Run the receiver in this process; gives what it tells."""
    told: Told = []
    stop, listening = threading.Event(), threading.Event()

    def tell(facts: Mapping[str, object], _text: str) -> None:
        told.append(facts)
        listening.set()

    thread = threading.Thread(target=receive, args=(site,), kwargs={"stop": stop, "tell": tell})
    thread.start()
    try:
        assert listening.wait(PATIENCE_SECONDS)
        yield told
    finally:
        stop.set()
        thread.join()


@contextmanager
def calling(
    site: SiteConfig,
    *,
    title: str = THEM,
    called: str = US,
    kinds: Sequence[UID] = RADIOGRAPHS,
    syntaxes: Sequence[UID] = (ExplicitVRLittleEndian,),
) -> Iterator[Association]:
    """Be a PACS that connects; the association may turn out to be refused."""
    assert site.receiver is not None
    pacs = AE(title)
    pacs.acse_timeout = pacs.dimse_timeout = pacs.network_timeout = PATIENCE_SECONDS
    contexts = [build_context(kind, list(syntaxes)) for kind in kinds]
    association = pacs.associate(
        "127.0.0.1", site.receiver.port, contexts=contexts, ae_title=called
    )
    # The library forgets its socket without closing it when the other side goes away at the wrong moment.
    connection = association.dul.socket.socket if association.dul.socket else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(PATIENCE_SECONDS)
        if connection is not None:
            connection.close()


def push(site: SiteConfig, *radiographs: Dataset) -> list[int]:
    """Send radiographs on one association; gives the answers."""
    with calling(site) as association:
        assert association.is_established
        return [association.send_c_store(radiograph).Status for radiograph in radiographs]


def waiting(site: SiteConfig) -> list[Path]:
    source = ReceivedSource(received_path(site.state_path))
    return [source.file_of(item, Path("unused")) for item in source.items()]


def wait_for(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_what_is_stored_is_the_data_set_as_it_was_sent_in_a_private_file(site: SiteConfig) -> None:
    sent = radiograph(1)
    with receiving(site) as told:
        assert push(site, sent) == [Status.STORED]
        (path,) = waiting(site)
    stored = dcmread(path)
    assert stored == sent
    assert stored.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert told == [
        {"state": "listening", "ae_title": US, "port": site.receiver and site.receiver.port},
        {"state": "received", "peer": THEM, "stored": 1, "put_off": 0, "refused": 0},
        {"state": "stopped"},
    ]


def test_a_radiograph_that_is_sent_again_waits_once_and_counts_as_new(site: SiteConfig) -> None:
    source = ReceivedSource(received_path(site.state_path))
    with receiving(site):
        assert push(site, radiograph(1), radiograph(1)) == [Status.STORED] * 2
        (before,) = source.items()
        corrected = radiograph(1)
        corrected.PatientID = "SYN2"
        assert push(site, corrected) == [Status.STORED]
        (after,) = source.items()
    assert (before.name == after.name, before.version == after.version) == (True, False)
    source.settled(before)
    assert list(source.items()) == [after]
    source.settled(after)
    assert list(source.items()) == []


def test_every_kind_is_taken_in_every_encoding_that_it_may_come_in(site: SiteConfig) -> None:
    with receiving(site):
        for kinds, syntaxes in ((RADIOGRAPHS, PICTURE_SYNTAXES), (REPORTS, PLAIN_SYNTAXES)):
            for syntax in syntaxes:
                with calling(site, kinds=kinds, syntaxes=[syntax]) as association:
                    assert len(association.accepted_contexts) == len(kinds)
        with calling(site, kinds=[CTImageStorage]) as association:
            assert not association.is_established
        with calling(site, kinds=[UID("1.2.840.10008.1.1")]) as association:
            assert association.send_c_echo().Status == 0


def test_whatever_can_be_read_may_be_sent() -> None:
    assert set(PICTURE_SYNTAXES) - set(PLAIN_SYNTAXES) == set(CODECS)


def test_a_sender_with_a_choice_is_taken_at_its_first_word(site: SiteConfig) -> None:
    offers = [
        [JPEG2000Lossless, ExplicitVRLittleEndian, ImplicitVRLittleEndian],
        [ImplicitVRLittleEndian, JPEGLosslessSV1, ExplicitVRLittleEndian],
    ]
    with receiving(site):
        for offer in offers:
            with calling(site, syntaxes=offer) as association:
                chosen = {c.transfer_syntax[0] for c in association.accepted_contexts}
            assert chosen == {offer[0]}


def test_only_a_peer_by_its_own_name_from_its_own_address_is_let_in(site: SiteConfig) -> None:
    peers = (Peer(ae_title=THEM, host="localhost"), Peer(ae_title="OTHER", host="127.0.0.2"))
    site = with_receiver(site, peers=peers)
    with receiving(site) as told:
        for title, called in (
            ("STRANGER", US),
            ("OTHER", US),
            (THEM, "OTHERUS"),
            (THEM, "OTHERUS"),
        ):
            with calling(site, title=title, called=called) as association:
                assert association.is_rejected
        assert push(site, radiograph(1)) == [Status.STORED]
    assert [facts["reason"] for facts in told if facts["state"] == "refused"] == [
        "no peer at this address has the AE title it gives as its own",
        f"it calls us by another AE title than {US}",
    ]


def test_an_unknown_machine_is_hung_up_on_before_it_is_listened_to(site: SiteConfig) -> None:
    site = with_receiver(site, peers=(Peer(ae_title=THEM, host="127.0.0.2"),))
    assert site.receiver is not None
    with receiving(site) as told:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", site.receiver.port)) as connection:
                connection.settimeout(PATIENCE_SECONDS)
                assert connection.recv(1) == b""
    assert [facts.get("address") for facts in told] == [None, "127.0.0.1", None]


def test_a_full_waiting_room_puts_the_sender_off_until_something_is_settled(
    site: SiteConfig,
) -> None:
    site = with_receiver(site, max_waiting_bytes=5000)
    first, second = radiograph(1, size=40), radiograph(2, size=40)
    with receiving(site) as told:
        assert push(site, first, second) == [Status.STORED, Status.OUT_OF_RESOURCES]
        source = ReceivedSource(received_path(site.state_path))
        (item,) = source.items()
        source.settled(item)
        wait_for(lambda: push(site, second) == [Status.STORED])
    assert told[1]["put_off"] == 1
    assert len(waiting(site)) == 1


def test_an_instance_without_end_is_hung_up_on(site: SiteConfig) -> None:
    site = replace(site, reading=ReadPolicy(max_file_bytes=1000))
    endless = radiograph(1, size=900)
    with receiving(site):
        with calling(site) as association:
            assert not association.send_c_store(endless)
            wait_for(lambda: association.is_aborted)
        assert push(site, radiograph(2)) == [Status.STORED]
    assert len(waiting(site)) == 1


def test_more_senders_than_are_served_at_once_are_told_to_come_back(site: SiteConfig) -> None:
    with receiving(site), ExitStack() as callers:
        associations = [callers.enter_context(calling(site)) for _ in range(MAX_ASSOCIATIONS + 1)]
        assert [association.is_established for association in associations].count(False) == 1
        rejection = associations[-1].acceptor.primitive
        assert rejection is not None
        assert rejection.result == 0x02  # for now


def test_nothing_that_is_told_or_logged_names_a_patient_or_instance(
    site: SiteConfig, caplog: pytest.LogCaptureFixture
) -> None:
    sent = radiograph(1)
    with caplog.at_level(logging.DEBUG), receiving(site) as told:
        push(site, sent)
    spoken = caplog.text + json.dumps([*told, *[path.name for path in waiting(site)]])
    assert str(sent.SOPInstanceUID) not in spoken
    assert "SYN" not in spoken


def test_drafts_that_a_killed_receiver_left_are_removed_and_whole_files_kept(
    site: SiteConfig,
) -> None:
    spool = received_path(site.state_path)
    keep_received(spool, bytes(16), b"whole")
    draft = spool / f".{'0' * 32}.dcm.x1"
    draft.write_bytes(b"half")
    assert [path.read_bytes() for path in waiting(site)] == [b"whole"]
    with receiving(site):
        assert not draft.exists()
    assert len(waiting(site)) == 1


def test_a_second_receiver_is_told_that_one_runs(site: SiteConfig) -> None:
    with receiving(site), pytest.raises(AlreadyRunning):
        receive(site, stop=threading.Event(), tell=lambda *_: None)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"host": "nowhere.invalid"}, CannotListen, "chooses another host or port"),
        (
            {"peers": (Peer(ae_title=THEM, host="nowhere.invalid"),)},
            AddressUnknown,
            "cannot be found",
        ),
    ],
)
def test_a_host_that_leads_nowhere_is_told(
    site: SiteConfig, changes: dict[str, object], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        receive(with_receiver(site, **changes), stop=threading.Event(), tell=lambda *_: None)


def test_a_port_that_is_taken_is_told(site: SiteConfig) -> None:
    assert site.receiver is not None
    with (
        socket.create_server(("127.0.0.1", site.receiver.port)),
        pytest.raises(CannotListen, match="Address already in use"),
    ):
        receive(site, stop=threading.Event(), tell=lambda *_: None)


def test_the_command_says_what_a_profile_without_a_receiver_lacks(
    site: SiteConfig, refused: Callable[..., str]
) -> None:
    path = write_profile(site)
    profile = path.read_text().replace("receiver:", "# ") + "data_path: data\n"
    path.write_text(profile)
    assert "has no `receiver`" in refused("hospital", "receive", path)


def write_profile(site: SiteConfig) -> Path:
    assert site.receiver is not None
    path = site.state_path.parent / "site.yaml"
    path.write_text(
        "site_name: a\ncoordinator: localhost:1\nca_path: ca.crt\nstate_path: state\nimage_size: 16\n"
        f"receiver: {{port: {site.receiver.port}, peers: [{{ae_title: {THEM}, host: 127.0.0.1}}]}}\n"
    )
    return path


@contextmanager
def receiver_process(site: SiteConfig) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "cli",
        "hospital",
        "receive",
        str(write_profile(site)),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["state"] == "listening"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_receiver_that_is_killed_in_the_midst_leaves_whole_files_and_all_that_it_acknowledged(
    site: SiteConfig,
) -> None:
    radiographs = [radiograph(number, size=300) for number in range(60)]
    acknowledged = []
    with receiver_process(site) as process, calling(site) as association:
        for number, sent in enumerate(radiographs):
            if number == 25:
                threading.Timer(0.01, process.kill).start()
            answer = association.send_c_store(sent)
            if not answer:
                break
            acknowledged.append(str(sent.SOPInstanceUID))
    stored = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in waiting(site)}
    assert 25 <= len(acknowledged) < 60
    assert set(acknowledged) <= stored.keys()
    assert all(stored[r.SOPInstanceUID] == r for r in radiographs if r.SOPInstanceUID in stored)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")
def test_another_vendors_sender_is_understood_and_a_signal_ends_the_command_cleanly(
    site: SiteConfig, tmp_path: Path
) -> None:
    assert site.receiver is not None
    write_radiograph(tmp_path / "sent.dcm", radiograph(1))
    words = ["storescu", "-aet", THEM, "-aec", US, "127.0.0.1", str(site.receiver.port), "sent.dcm"]
    with receiver_process(site) as process:
        subprocess.run(words, check=True, cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    assert [json.loads(line)["state"] for line in said.splitlines()] == ["received", "stopped"]
    (path,) = waiting(site)
    assert dcmread(path).PixelData == dcmread(tmp_path / "sent.dcm").PixelData


@pytest.mark.slow
def test_a_command_is_typed_again_and_again_and_ended_with_what_it_runs_beside(
    site: SiteConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def has_said(words: str) -> bool:
        said.append(capfd.readouterr().out)
        return words in "".join(said)

    with every(0.001, ["hospital", "receive", str(write_profile(site))]):
        wait_for(lambda: has_said("waiting for radiographs"))
    assert has_said("stopped")
    with every(None, ["hospital", "receive", str(write_profile(site))]):
        pass
    assert capfd.readouterr().out == ""
