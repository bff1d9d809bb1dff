"""The hospital's console: what it shows of the hospital's own disk, and what a person can do there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.config import SiteConfig, load_site
from client.console.run import PASSWORD_NAME
from client.console.views import look
from client.control.orders import read_orders
from client.evidence.log import Event, Facts, entries, log_path, note
from client.evidence.receipts import kept_receipts
from client.plans.gate import arrive
from client.plans.store import approvals
from federation.console.password import write_password
from tests.browser.hospital import (
    LONGER,
    NAME,
    OFFICER,
    make_past,
    make_profile,
    plan_of,
    served_hospital,
)
from tests.browser.served import Visitor, visiting


@pytest.fixture
def profile(make_hospital: Callable[..., SiteConfig], memory_path: Path) -> Path:
    make_hospital(memory_path, NAME)
    return make_profile(memory_path)


@pytest.fixture
def visitor(profile: Path) -> Iterator[Visitor]:
    """Somebody at a hospital that has joined, and nothing else."""
    with served_hospital(profile) as console, visiting(console) as somebody:
        yield somebody


def test_a_hospital_to_which_nothing_has_happened_says_so_on_every_page(visitor: Visitor) -> None:
    assert "not running" in visitor.read("/").text
    assert "11 of" not in visitor.read("/").text
    for path, sentence in (
        ("/plans", "None: the hospital takes part in nothing."),
        ("/left", "No change has ever left this hospital."),
        ("/ledger", "Nothing was ever charged."),
        ("/log", "Nothing was noted."),
    ):
        assert sentence in visitor.read(path).text


def test_the_first_page_gathers_what_needs_a_person(profile: Path) -> None:
    plan = make_past(profile)
    assert look(load_site(profile)).wants == (
        ("A plan of the study chest-2027 waits for approval.", f"/plans/{plan.digest}"),
    )
    (profile.parent / "policy.yaml").unlink()
    wants = [sentence for sentence, _ in look(load_site(profile)).wants]
    assert wants[0] == "There is no privacy policy, and without one nothing is trained."


def test_data_are_shown_as_counts_with_what_to_do(visitor: Visitor, profile: Path) -> None:
    page = visitor.read("/data").text
    assert "12 of 13 usable" in page
    assert "<img" not in page.partition("<main")[2]
    (load_site(profile).state_path / "cache" / "current").unlink()
    assert "hospital ingest" in visitor.read("/data").text


def test_an_approval_needs_the_tick_and_a_name(visitor: Visitor, profile: Path) -> None:
    plan, site = make_past(profile), load_site(profile)
    page, act = f"/plans/{plan.digest}", f"/plans/{plan.digest}/approve"
    assert "study.stages.1.num_rounds: 30 -&gt; 60" in visitor.read(page).text
    for fields, complaint in (
        ({"name": OFFICER}, "tick that you have read"),
        ({"name": OFFICER, "seen": "0" * 64}, "tick that you have read"),
        ({"name": "  ", "seen": plan.digest}, "write who decides"),
        ({"name": '"><b>Jane</b>', "seen": "x"}, 'value="&#34;&gt;&lt;b&gt;Jane&lt;/b&gt;"'),
    ):
        answer = visitor.send(act, fields, page=page)
        assert answer.status_code == 400
        assert complaint in answer.text
    assert len(approvals(site.state_path)) == 1
    answer = visitor.send(act, {"name": OFFICER, "seen": plan.digest}, page=page)
    assert answer.headers["location"] == page
    assert f"Approved by <strong>{OFFICER}</strong>" in visitor.read(page).text
    assert {each.digest for each in approvals(site.state_path)} >= {plan.digest}
    assert "Approve this plan" not in visitor.read(page).text


def test_whatever_a_coordinator_or_a_person_writes_is_shown_as_words_and_nothing_else(
    visitor: Visitor, profile: Path
) -> None:
    site, markup = load_site(profile), "<script>alert(1)</script>\"'{{ mark }}"
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;{{ mark }}"
    make_past(profile)
    plan = plan_of(profile.parent, LONGER, issued=1_796_000_000, data_use=markup)
    arrive(site, plan)
    page = f"/plans/{plan.digest}"
    assert shown in visitor.read(page).text
    visitor.send(f"{page}/approve", {"name": markup, "seen": plan.digest}, page=page)
    for path in (page, "/plans", "/log"):
        assert shown in visitor.read(path).text
        assert markup not in visitor.read(path).text


def test_no_page_holds_a_key_or_what_a_password_is_recognised_by(
    visitor: Visitor, profile: Path
) -> None:
    plan, state = make_past(profile), load_site(profile).state_path
    write_password(state / PASSWORD_NAME, "correct horse battery")
    keys = [path.read_text() for path in profile.parent.rglob("*") if holds_a_secret(path)]
    secrets = [line for key in keys for line in key.split() if len(line) >= 32]
    assert len(secrets) >= 4
    (receipt, *_) = kept_receipts(state)
    pages = ("/", "/data", "/plans", "/left", "/ledger", "/log", f"/plans/{plan.digest}")
    for path in (*pages, f"/left/{receipt.digest}"):
        page = visitor.read(path).text
        assert not any(secret in page for secret in (*secrets, visitor.console.passwords[-1]))


def holds_a_secret(path: Path) -> bool:
    """Whether a file is a private key, or the console's password."""
    return path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or path.name == PASSWORD_NAME)


def test_a_plan_that_was_made_for_another_program_cannot_be_approved(
    visitor: Visitor, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_past(profile)
    monkeypatch.setattr("client.plans.gate.installed_code", lambda: "f" * 64)
    page = visitor.read(f"/plans/{plan.digest}").text
    assert "cannot be joined" in page
    assert "The plan was made for the program" in page
    assert "Approve this plan" not in page


def test_pausing_and_stopping_go_into_the_orders_and_into_the_log(
    visitor: Visitor, profile: Path
) -> None:
    state = load_site(profile).state_path
    for act, event in (
        ("/pause", Event.PAUSED),
        ("/resume", Event.RESUMED),
        ("/stop", Event.STOPPED),
    ):
        assert visitor.send(act, {}, page="/").status_code == 303
        last = entries(state)[-1]
        assert last.event == event
        assert last.actor.endswith(", console")
        orders = read_orders(state)
        assert [orders.paused is None, orders.stopped is None] == [
            event is not Event.PAUSED,
            event is not Event.STOPPED,
        ]
    assert "Nothing leaves this hospital now." in visitor.read("/").text


def test_nothing_changes_without_the_password_or_without_the_mark(
    visitor: Visitor, profile: Path
) -> None:
    plan, state = make_past(profile), load_site(profile).state_path
    before = entries(state)
    acts = ("/pause", "/resume", "/stop", f"/plans/{plan.digest}/approve", "/logout")
    for act in acts:
        assert visitor.client.post(act, data={"seen": plan.digest, "name": "x"}).status_code == 403
        assert visitor.client.get(act).status_code in {404, 405}
    stranger = Visitor(visitor.console)
    with stranger.client:
        for act in acts:
            answer = stranger.send(act, {"seen": plan.digest, "name": "x"}, page="/login")
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert entries(state) == before


def test_receipts_are_shown_to_the_byte_and_a_changed_one_is_noticed(
    visitor: Visitor, profile: Path
) -> None:
    make_past(profile)
    page = visitor.read("/left").text
    assert "The record is sound." in page
    assert "2 receipts" in page
    first, second = kept_receipts(load_site(profile).state_path)
    assert page.index(second.digest[:12]) < page.index(first.digest[:12])
    shown = visitor.read(f"/left/{first.digest}").text
    assert first.receipt.parcel_digest in shown
    assert "blocks.2.qkv.lora_a" in shown
    first.path.write_text(first.path.read_text().replace('"norm":0.83', '"norm":0.13'))
    assert "The record is not sound." in visitor.read("/left").text
    assert "The record of what left is not sound" in visitor.read("/").text


def test_what_left_tells_who_answers_for_what_the_log_lost(visitor: Visitor, profile: Path) -> None:
    facts: Facts = {"head": "ab" * 32, "entries": 9, "kept": 4, "reason": "<b>a disk died</b>"}
    note(load_site(profile).state_path, Event.LOSS_ACCEPTED, actor=OFFICER, facts=facts)
    page = visitor.read("/left").text
    assert "entries 5 to 9" in page
    assert OFFICER in page
    assert "&lt;b&gt;a disk died" in page


def test_a_log_that_was_changed_hides_no_page(visitor: Visitor, profile: Path) -> None:
    make_past(profile)
    path = log_path(load_site(profile).state_path)
    path.write_text(path.read_text().replace("data manager", "nobody"))
    for page in ("/", "/left"):
        answer = visitor.read(page)
        assert answer.status_code == 200
        assert "not sound" in answer.text
    assert visitor.read("/log").status_code == 500


def test_the_ledger_shows_what_is_spent_of_the_cap(visitor: Visitor, profile: Path) -> None:
    make_past(profile)
    page = visitor.read("/ledger").text
    assert "of at most 8.00" in page
    assert page.count("20 steps, noise 1.1, rate 0.02") == 3
    assert page.count(">reserved<") == 1
    assert page.count(">settled<") == 2


def test_the_log_is_read_page_by_page(visitor: Visitor, profile: Path) -> None:
    make_past(profile)
    whole = entries(load_site(profile).state_path)
    page = visitor.read("/log").text
    assert page.index("plan arrived") < page.index("joined")
    older = visitor.read(f"/log?before={whole[1].number}").text
    assert "joined" in older
    assert "plan arrived" not in older
    assert visitor.read("/log?before=abc").status_code == 404


def test_a_profile_that_cannot_be_used_says_where(visitor: Visitor, profile: Path) -> None:
    profile.write_text(profile.read_text() + "colour: red\n")
    answer = visitor.read("/")
    assert answer.status_code == 500
    assert "colour" in answer.text
