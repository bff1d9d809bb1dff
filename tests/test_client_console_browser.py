"""The hospital's console in a real browser: somebody reads what would leave, agrees, pauses, and sees what left.

    FEDCXR_SCREENSHOTS=docs pytest tests/test_client_console_browser.py

writes the pictures of the documentation.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from client.config import SiteConfig, load_site
from client.control.gate import gate_of
from client.control.running import LOCK_NAME
from client.evidence.log import Event, entries
from client.node_status import NodeStatus, write_status
from client.plans.store import approval_of_study
from client.supernode import STATUS_NAME
from federation.config import study_digest
from federation.files import hold_lock
from tests.browser.chromium import CHROMIUM, Browser, browser
from tests.browser.hospital import LONGER, NAME, make_past, make_profile, served_hospital
from tests.browser.looking import look_at, sign_in, text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


def test_an_officer_reads_a_plan_agrees_by_keyboard_pauses_and_sees_what_left(
    make_hospital: Callable[..., SiteConfig], memory_path: Path, tmp_path: Path
) -> None:
    make_hospital(memory_path, NAME)
    profile = make_profile(memory_path)
    plan = make_past(profile)
    site = load_site(profile)
    with (
        hold_lock(site.state_path / LOCK_NAME),
        served_hospital(profile) as console,
        browser(tmp_path) as window,
    ):
        write_status(site.state_path / STATUS_NAME, NodeStatus.REGISTERED)
        window.wear("light")
        sign_in(window, console, "hospital-login")
        assert "A plan of the study chest-2027 waits for approval." in window.names("link")
        look_at(window, "hospital-today")
        for name, page in (("Data", "data"), ("Privacy ledger", "ledger"), ("Plans", "plans")):
            window.click(name)
            look_at(window, f"hospital-{page}")

        window.click("chest-2027")
        look_at(window, "hospital-plan")
        assert "study.stages.1.num_rounds: 30 -> 60" in text(window)
        agree_by_keyboard(window, "Dr Jane Weber, data-protection officer")
        assert "Approved by Dr Jane Weber, data-protection officer" in text(window)
        approval = approval_of_study(site.state_path, study_digest(LONGER))
        assert approval is not None
        assert approval.digest == plan.digest

        window.click("Today")
        window.click("Pause")
        assert "Nothing leaves this hospital now." in text(window)
        assert gate_of(site).closed() is not None
        look_at(window, "hospital-paused")
        window.click("Take part again")
        assert gate_of(site).closed() is None
        window.click("What left")
        look_at(window, "hospital-left")
        window.follow("document.querySelector('tbody a').click()")
        look_at(window, "hospital-receipt")
        window.click("Log")
        look_at(window, "hospital-log")
        assert window.complaints(console.url) == []
    noted = [entry.event for entry in entries(site.state_path)][-3:]
    assert noted == [Event.PLAN_APPROVED, Event.PAUSED, Event.RESUMED]


def agree_by_keyboard(window: Browser, name: str) -> None:
    """Write a name, tick, and press the button, without a mouse."""
    window.run("document.getElementById('name').focus()")
    window.write(name)
    window.press("Tab")
    window.press(" ")
    window.press("Tab")
    window.run("window.isOld = true")
    window.press("Enter")
    window.await_page()
