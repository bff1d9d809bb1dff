"""How long a hospital waits after trouble, and where it refuses to go."""

import time
from pathlib import Path

import pytest

from client.transfer import line, patience
from client.transfer.line import LineBroken
from client.transfer.moved import Meter
from client.transfer.places import Place, places_of
from client.transfer.refusals import HostNotAllowed, TicketExpired, TransferRefused, WrongTicket
from federation.messages import RefusalCode, Ticket
from tests.faults.blob_server import TOKEN, hospital


def test_the_longest_pause_and_attempt_leave_room_in_thirty_seconds() -> None:
    assert patience.MAX_PAUSE_SECONDS + line.CONNECT_SECONDS <= 25.0
    assert line.STALL_SECONDS <= 30.0


def test_pauses_double_up_to_the_longest_and_begin_anew_after_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    waiting = patience.Patience(int(time.time()) + 60, Meter("fetched", 1))
    for _ in range(2000):
        waiting.wait(LineBroken("gone"))
    waiting.progress()
    waiting.wait(LineBroken("gone"))
    longest = [0.5, 1, 2, 4, 8, *[15] * 1995, 0.5]
    assert all(most / 2 <= pause <= most for pause, most in zip(slept, longest, strict=True))
    assert len({round(pause, 9) for pause in slept[5:2000]}) > 1900


def test_waiting_ends_with_the_ticket_and_says_what_the_last_trouble_was() -> None:
    meter = Meter("left", 1)
    with pytest.raises(TicketExpired, match="answer 503") as caught:
        patience.Patience(int(time.time()), meter).wait(LineBroken("answer 503"))
    assert caught.value.refusal.code is RefusalCode.TRANSFER
    assert meter.moved.interruptions == 1


def ticket(*links: str) -> Ticket:
    return Ticket(links=links, token=TOKEN, expires=0)


@pytest.mark.parametrize(
    ("link", "kind"),
    [
        ("https://bucket.example/x?y", HostNotAllowed),
        ("https://localhost@bucket.example/x", HostNotAllowed),
        ("ftp://localhost/x", WrongTicket),
        ("/blobs/x/0\r\nX-Evil: 1", WrongTicket),
        ("/blobs/x y/0", WrongTicket),
        ("https://localhost:port/x", WrongTicket),
        ("http://named.example/x", WrongTicket),
    ],
)
def test_a_link_leads_to_the_coordinator_or_to_a_host_that_the_profile_names(
    tmp_path: Path, link: str, kind: type[Exception]
) -> None:
    site = hospital(tmp_path, 1, blob_hosts=("localhost", "named.example"))
    with pytest.raises(kind) as caught:
        places_of(site, ticket("/blobs/x/0", link), [0, 1])
    assert isinstance(caught.value, TransferRefused)
    assert caught.value.refusal.code is RefusalCode.BLOCKED


def test_only_the_coordinator_gets_the_token(tmp_path: Path) -> None:
    site = hospital(tmp_path, 8443, blob_hosts=("named.example",))
    places = places_of(site, ticket("/blobs/x/3", "https://NAMED.example/b/4?sign=1"), [3, 4])
    assert places == {
        3: Place(host="localhost", port=8443, target="/blobs/x/3", token=TOKEN, is_bucket=False),
        4: Place(host="named.example", port=443, target="/b/4?sign=1", is_bucket=True),
    }


def test_a_ticket_for_fewer_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongTicket, match="has 1 links for 4 shards"):
        places_of(hospital(tmp_path, 1), ticket("/blobs/x/0"), range(4))
