"""A machine that is known may push radiographs; what it is told is stored is on the disk, whole, and opaque."""

import json
import logging
import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)

from client.config import Peer, SiteConfig
from client.dicom.codecs import CODECS
from client.dicom.policy import ReadPolicy
from client.sources.inbox import Status
from client.sources.kinds import PICTURE_SYNTAXES, PLAIN_SYNTAXES, RADIOGRAPHS, REPORTS
from client.sources.listener import AddressUnknown, CannotListen
from client.sources.received import ReceivedSource, keep_received, received_path
from client.sources.receiver import MAX_ASSOCIATIONS, receive
from federation.files import AlreadyRunning
from tests.pacs.receiving import (
    PATIENCE_SECONDS,
    THEM,
    US,
    calling,
    push,
    radiograph,
    receiving,
    site_that_receives,
    wait_for,
    waiting,
    with_receiver,
)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    return site_that_receives(tmp_path)


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
