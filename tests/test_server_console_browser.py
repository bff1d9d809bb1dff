"""The coordinator's console in a real browser: by keyboard, by screen reader, light and dark, narrow and wide.

    FEDCXR_SCREENSHOTS=docs pytest tests/test_server_console_browser.py

writes the pictures of the documentation.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from federation.files import hold_lock
from server.endpoint import LOCK_NAME, write_endpoint
from server.store import StudyStore
from tests.browser.chromium import CHROMIUM, browser, until
from tests.browser.coordinator import (
    REFUSED,
    make_private,
    make_record,
    make_roster,
    served_console,
)
from tests.browser.looking import look_at, sign_in, text
from tests.browser.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


@pytest.fixture
def store(memory_path: Path) -> StudyStore:
    """The study that runs, beside one that needs a person."""
    make_private(memory_path)
    return make_record(memory_path)


@pytest.fixture
def served(memory_path: Path, store: StudyStore) -> Iterator[Served]:
    """A coordinator that is up, with a study that runs and one that needs a person."""
    make_roster(memory_path)
    write_endpoint(
        memory_path, host="127.0.0.1", port=8443, control_port=1, ca_path=memory_path / "ca.crt"
    )
    with store.lock(), hold_lock(memory_path / LOCK_NAME), served_console(memory_path) as console:
        yield console


def test_an_operator_signs_in_by_keyboard_and_reads_every_page_in_light_and_dark(
    served: Served, store: StudyStore, tmp_path: Path
) -> None:
    with browser(tmp_path) as window:
        window.wear("light")
        sign_in(window, served, "coordinator-login")
        assert window.names("heading")[0] == "Studies"
        assert "5 of 12 rounds done" in window.names("image")
        look_at(window, "coordinator-studies")

        window.click("chest-2026")
        assert "Losses over the rounds; the table below has the numbers" in window.names("image")
        assert REFUSED in text(window)
        look_at(window, "coordinator-study")
        store.record(replace(store.parts()[-1], state="admitted", code="", reason=""))
        assert "waits for approval" in text(window)
        window.run("refresh()")  # what the page does every ten seconds
        until(lambda: "waits for approval" not in text(window))
        window.click("Studies")
        window.click("chest-private")
        look_at(window, "coordinator-private")
        window.click("Hospitals")
        assert text(window).count("not connected") == 1
        look_at(window, "coordinator-hospitals")
        hostile = f"<script>document.title = 'mine'</script>{'x' * 150}"
        store.record(replace(store.parts()[-1], state="refused", code="internal", reason=hostile))
        window.run("refresh()")
        until(lambda: hostile in text(window))
        assert window.run("document.title").startswith("Hospitals")
        window.wear("light", width=390)
        assert not window.is_too_wide()
        window.click("Sign out")
        window.show(f"{served.url}/hospitals")
        assert window.names("heading") == ["Sign in"]
        assert window.complaints(served.url) == []
