"""The coordinator's console: what its pages say of a study, of hospitals, and of what is not there."""

import math
import queue
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from federation.certificates import issue_certificate, make_authority
from federation.files import hold_lock
from federation.messages import Refusal, RefusalCode
from federation.planning.spending import phases_of
from federation.wire.header import MAX_REASON
from federation.wire.rounds import pack_answer, unpack_answer
from privacy.accounting.epsilon import epsilon
from server.console.connections import Connected, Connections
from server.console.run import ConsoleSettings, NoName, serve_console
from server.console.spending import DELTA, spending
from server.console.views import forecast, member_badge, study_view
from server.endpoint import LOCK_NAME, CoordinatorNotRunning, write_endpoint
from server.enrolment.members_table import Row
from server.records import Part
from server.status import study_status
from server.store import StudyStore
from tests.browser.chromium import until
from tests.browser.coordinator import (
    REFUSED,
    connected_now,
    make_private,
    make_record,
    make_roster,
    served_console,
)
from tests.browser.served import Visitor, visiting


@pytest.fixture
def record(memory_path: Path) -> Iterator[StudyStore]:
    """A coordinator that is up, with a study in its sixth round."""
    store = make_record(memory_path)
    announce(memory_path)
    with hold_lock(memory_path / LOCK_NAME):
        yield store


def announce(state: Path, *, roster_path: Path | None = None) -> None:
    """Say where the coordinator is, as `coordinator up` does."""
    write_endpoint(
        state,
        host="127.0.0.1",
        port=8443,
        control_port=1,
        ca_path=state / "ca.crt",
        roster_path=roster_path,
    )


def unreachable() -> Connected:
    """What asking a SuperLink ends with that is down."""
    raise OSError


@pytest.fixture
def visitor(record: StudyStore, memory_path: Path) -> Iterator[Visitor]:
    with record.lock(), served_console(memory_path) as console, visiting(console) as somebody:
        yield somebody


def test_the_first_page_says_how_every_study_stands(visitor: Visitor) -> None:
    page = visitor.read("/").text
    assert "coordinator is up on port 8443" in page
    assert "Round 6 of 12; about 2 h 50 min left" in page
    assert 'aria-label="5 of 12 rounds done"' in page


def test_a_study_says_the_truth_about_each_hospital(record: StudyStore) -> None:
    view = study_view(record, connected_now())
    told = {
        site.name: (site.connection.text, site.standing.text, site.num_counted)
        for site in view.sites
    }
    assert told == {
        "city": ("connected", "training", 5),
        "north": ("connected", "update counts", 5),
        "st-mary": ("not connected", "waits for approval", 4),
        "west": ("connected", "never asked", 0),
    }
    unknown = study_view(record, None)
    assert {site.connection.text for site in unknown.sites} == {"not known"}
    assert study_view(record, {}).sites[0].connection.text == "not on the roster"


def test_the_roster_is_read_from_the_folder_that_the_running_coordinator_has(
    visitor: Visitor, memory_path: Path
) -> None:
    make_roster(memory_path)
    elsewhere = (memory_path / "roster").rename(memory_path / "elsewhere")
    assert "member, no certificate" not in visitor.read("/hospitals").text
    announce(memory_path, roster_path=elsewhere)
    assert visitor.read("/hospitals").text.count("member, no certificate") == 4


def test_connections_say_since_when(visitor: Visitor) -> None:
    assert visitor.read("/hospitals").text.count("for 1 h 30 min</time>") == 4


def test_a_forecast_counts_what_the_current_round_has_taken_and_never_lies_in_the_past(
    record: StudyStore,
) -> None:
    with record.lock():
        status = study_status(record)
    began = status.rounds[-1].committed
    for passed, ends in ((0, 7 * 1460), (1000, 7 * 1460), (2000, 2000 + 6 * 1460)):
        end = forecast(status, began + passed)
        assert end is not None
        assert end - began == pytest.approx(ends)
    assert forecast(replace(status, state="waiting"), began) is None


def test_a_study_shows_losses_refusals_and_rounds(visitor: Visitor, record: StudyStore) -> None:
    page = visitor.read(f"/studies/{record.folder.name}").text
    assert REFUSED in page
    assert page.count('<g class="one">') == 3
    assert page.count('<g class="mean">') == page.count('<g class="held-out">') == 1
    assert "This study makes no promise of differential privacy" in page
    assert "There is no model to draw with before the last round." in page
    for key in ("..%2f..%2fetc", "..", "%2e%2e", "%00", f"{record.folder.name}%2f..", "*"):
        assert visitor.read(f"/studies/{key}/samples.png").status_code == 404


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("\"'><img src=x onerror=alert(1)>", "&#34;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;"),
        ("</bdi></table>{{ console }}", "&lt;/bdi&gt;&lt;/table&gt;{{ console }}"),
        ("up\x1b[2J\u202edown\u2066\x00\n", "up [2J down   "),
        ("\u0627\u0644\u0633\u0644\u0627\u0645", "\u0627\u0644\u0633\u0644\u0627\u0645"),
        ("a" * 100_000, "a" * MAX_REASON),
    ],
    ids=["script", "quotes", "template", "control", "arabic", "long"],
)
def test_whatever_a_hospital_answers_is_shown_as_its_words_and_nothing_else(
    visitor: Visitor, record: StudyStore, words: str, shown: str
) -> None:
    answer = unpack_answer(pack_answer(Refusal(code=RefusalCode.INTERNAL, reason=words)))
    assert isinstance(answer, Refusal)
    part = Part(number=6, site="west", attempt=1, state="refused")
    record.record(replace(part, code=answer.code, reason=answer.reason))
    for path in ("/hospitals", f"/studies/{record.folder.name}"):
        assert f'<bdi class="theirs">{shown}</bdi>' in visitor.read(path).text


@pytest.mark.parametrize(("loss", "other"), [(1.7e308, -1.7e308), (1e-320, 5e-324), (0, math.inf)])
def test_no_number_of_a_hospital_keeps_a_page_from_being_shown(
    visitor: Visitor, record: StudyStore, loss: float, other: float
) -> None:
    mad = Part(number=5, site="west", attempt=1, state="admitted", norm=1e308)
    record.record(replace(mad, loss=loss, held_out_loss=other))
    record.record(replace(mad, site="city", loss=other, held_out_loss=loss))
    page = visitor.read(f"/studies/{record.folder.name}")
    assert page.status_code == 200
    assert max(map(len, re.findall(r"[0-9.]+", page.text))) <= 64  # a digest


def test_a_private_study_shows_its_cost_its_reason_and_its_samples(
    record: StudyStore, visitor: Visitor, memory_path: Path
) -> None:
    store = make_private(memory_path)
    page = visitor.read(f"/studies/{store.folder.name}").text
    assert "stopped: needs a person" in page
    assert "ask north and st-mary to connect" in page
    total = epsilon(phases_of(store.study), DELTA).value
    assert f"at its end it will be {total:.2f}" in page
    assert "No loss leaves the hospitals in this study" in page
    sheet = visitor.read(f"/studies/{store.folder.name}/samples.png")
    assert sheet.content.startswith(b"\x89PNG")
    assert record.study.name != store.study.name
    assert visitor.read(f"/studies/{record.folder.name}/samples.png").status_code == 404


def test_only_rounds_that_may_have_been_trained_are_counted_as_spent(memory_path: Path) -> None:
    store = make_private(memory_path)

    def part(site: str, number: int, code: str = "") -> Part:
        return Part(number=number, site=site, attempt=1, state="refused", code=code)

    parts = [part("a", 1), part("a", 2, "no-answer"), part("b", 1, "policy"), part("c", 1)]
    found = spending(store.study, parts)
    assert found is not None
    assert set(found.by_site) == {"a", "c"}
    assert 0 < found.by_site["c"] < found.by_site["a"] == found.maximum < found.at_end


def test_a_coordinator_without_anything_says_what_to_type(memory_path: Path) -> None:
    with served_console(memory_path, unreachable) as console, visiting(console) as visitor:
        page = visitor.read("/").text
        assert "No study yet" in page
        assert f"coordinator up --state {memory_path}" in page
        page = visitor.read("/hospitals").text
        assert "No hospital yet" in page
        assert "coordinator invite" in page


def test_the_roster_is_shown_with_what_is_wrong_with_it(
    visitor: Visitor, memory_path: Path
) -> None:
    make_roster(memory_path)
    (memory_path / "roster" / "St Mary.pub").write_text("x")
    page = visitor.read("/hospitals").text
    assert "a site name has lower-case letters" in page
    assert page.count(">not connected<") == 1
    assert page.count("member, no certificate") == 4
    assert page.count(">unusable key<") == 1
    assert page.count(">never<") == 2


@pytest.mark.parametrize(("days", "kind"), [(-1, "bad"), (5, "warn"), (200, "good"), (None, "")])
def test_a_certificate_that_ends_soon_looks_like_a_warning(days: int | None, kind: str) -> None:
    row = Row(site="a", state="member", certificate_days=days, last_seen=None)
    assert member_badge(row).kind == kind


def test_who_is_connected_is_asked_once_for_everybody_who_looks(tmp_path: Path) -> None:
    asked = []

    def ask(path: Path) -> Connected:
        asked.append(path)
        raise OSError

    nodes = Connections(state_path=tmp_path, ask=ask)
    assert [nodes.look() for _ in range(3)] == [None] * 3
    assert asked == [tmp_path]


def test_a_console_for_other_machines_speaks_tls_with_the_coordinators_authority(
    memory_path: Path,
) -> None:
    told: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    settings = ConsoleSettings(
        state_path=memory_path,
        host="0.0.0.0",  # noqa: S104
        port=0,
        names=("localhost",),
    )
    serve = partial(serve_console, settings, stop=stop, ready=told.put, tell=told.put)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        url = told.get(timeout=20)
        trusted = ssl.create_default_context(cafile=memory_path / "tls" / "ca.crt")
        with httpx.Client(verify=trusted, trust_env=False) as client:
            answer = client.get(f"{url}login")
            assert "secure" in answer.headers["set-cookie"].lower()
            assert "max-age" in answer.headers["strict-transport-security"]
        assert told.get(timeout=20).count("-") == 3
    finally:
        stop.set()
        thread.join()


def days_left(path: Path) -> int:
    """Of a certificate."""
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return (ends - datetime.now(UTC)).days


def test_a_console_for_other_machines_renews_its_certificate_and_shows_it_without_a_restart(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.console.run.RENEW_SECONDS", 0.1)
    stop, told, names = threading.Event(), queue.Queue[str](), ("localhost",)
    settings = ConsoleSettings(state_path=memory_path, host="0.0.0.0", port=0, names=names)  # noqa: S104
    serve = partial(serve_console, settings, stop=stop, ready=told.put, tell=told.put)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        place = ("localhost", int(told.get(timeout=20).rpartition(":")[2].strip("/")))
        first = ssl.get_server_certificate(place)
        folder = memory_path / "tls"
        (folder / "console" / "server.crt").unlink()
        three_days = timedelta(days=3)
        issue_certificate(folder / "console", make_authority(folder), names, life=three_days)
        until(lambda: days_left(folder / "console" / "server.crt") > 300)
        assert first != ssl.get_server_certificate(place)
    finally:
        stop.set()
        thread.join()


def test_a_console_beyond_this_machine_has_to_have_a_name(tmp_path: Path) -> None:
    for settings, problem in (
        (ConsoleSettings(state_path=tmp_path, host="0.0.0.0", port=0), NoName),  # noqa: S104
        (
            ConsoleSettings(state_path=tmp_path / "x", host="127.0.0.1", port=0),
            CoordinatorNotRunning,
        ),
    ):
        with pytest.raises(problem):
            serve_console(settings, stop=threading.Event(), ready=pytest.fail, tell=pytest.fail)
