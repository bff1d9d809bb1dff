"""The reader's page in a real browser, Chromium, spoken to over its DevTools protocol."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from synthesis.reader_study.answers import Reading, read_all
from synthesis.reader_study.booklet import Booklet, Key, make_booklet
from synthesis.reader_study.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATIENCE_SECONDS = 20.0
NUM_PICTURES = 3
STATE = "JSON.parse(localStorage.getItem(place))"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def show(self, page: Path) -> None:
        """Open a page and wait until it is there."""
        self.tell("Page.navigate", url=page.as_uri())
        until(lambda: self.run("document.readyState === 'complete' && !!window.begin"))

    def tell(self, method: str, **params: object) -> dict[str, Any]:
        """One command, and its result."""
        number = len(self.events) + 1_000_000
        message = {"id": number, "method": method, "params": params}
        self.socket.send(
            json.dumps(message | ({"sessionId": self.session} if self.session else {}))
        )
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE_SECONDS))
            self.events.append(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def run(self, script: str) -> Any:  # noqa: ANN401  whatever the page says
        """The value of an expression in the page."""
        answer = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Keys as a person strikes them."""
        for key in keys:
            text = "\r" if key == "Enter" else key
            self.tell("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
            self.tell("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """A click on the first visible element that fits."""
        script = (
            f"[...document.querySelectorAll({selector!r})].find((it) => it.offsetParent).click()"
        )
        self.run(script)

    def names(self, role: str) -> list[str]:
        """What a screen reader says of the elements of one role."""
        nodes = self.tell("Accessibility.getFullAXTree")["nodes"]
        return [
            node["name"]["value"]
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    def complaints(self) -> list[dict[str, Any]]:
        """Errors, violations of the page's policy, and anything loaded from outside the file."""
        bad = [
            event
            for event in self.events
            if event.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}
        ]
        requests = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return bad + [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Chromium with a profile; at the end it is killed, without a chance to save anything."""
    port_file = profile / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: port_file.exists() and port_file.read_text().count("\n") == 1)
        port, path = port_file.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            yield Browser(socket)
            os.killpg(process.pid, signal.SIGKILL)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(is_so: Callable[[], object]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def booklet() -> Booklet:
    return make_booklet("a" * 16, reader=1, num_pictures=NUM_PICTURES, num_presentations=2, seed=4)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, booklet: Booklet) -> Path:
    """Three flat pictures, to be seen twice."""
    path = tmp_path_factory.mktemp("page") / "reader-1.html"
    levels = np.array([40, 120, 200], dtype=np.uint8)
    path.write_text(
        render_page(booklet, np.broadcast_to(levels[:, None, None], (NUM_PICTURES, 32, 32)))
    )
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where the browser keeps what pages save."""
    path = tmp_path / "profile"
    path.mkdir()
    return path


def test_a_reader_answers_by_keys_and_clicks_and_downloads_what_the_study_can_score(
    page: Path, profile: Path, booklet: Booklet, tmp_path: Path
) -> None:
    file = tmp_path / f"answers-{booklet.study}-reader-1.json"
    with browser(profile) as window:
        window.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        window.show(page)
        window.press("r", "3", "Enter")
        assert window.run(STATE)["answers"] == []  # nothing counts before the reader begins
        window.click("button.begin")
        assert "Radiograph 1 of 3, part 1 of 2" in window.names("heading")
        assert window.names("image") == ["Radiograph 1 of 3, part 1 of 2"]
        assert window.names("radio")[:3] == ["real", "synthetic", "1 of 5, a guess"]

        window.press("Enter")
        assert window.run(STATE)["answers"] == []  # no answer without a choice
        window.press("s", "5", "Enter")
        window.click("input[value=real]")
        window.click("input[value='2']")
        window.run("document.getElementById('comment').focus()")
        window.press("s", "1")  # a comment, not an answer
        window.click("button[type=submit]")
        window.press("r", "s", "1", "Enter")
        assert window.names("heading")[-1] == "That part is done"
        window.click("button.begin")
        window.press(*("r", "4", "Enter") * NUM_PICTURES)
        assert window.names("heading")[-1] == "Thank you, that was the last one"
        window.click("button.download")
        until(file.exists)
        assert window.complaints() == []

    reading = scored(file, booklet)
    first = [reading.verdicts[0, number] for number in booklet.presentations[0]]
    assert first == [5, -2, 1]
    assert reading.verdicts[1].tolist() == [-4, -4, -4]
    assert [comment.text for comment in reading.comments] == ["s1"]


def scored(file: Path, booklet: Booklet) -> Reading:
    """What the study reads out of a downloaded file."""
    key = Key(
        study=booklet.study,
        seed=4,
        num_presentations=2,
        kinds=("real", "synthetic", "real"),
        marks={1: booklet.marks},
        made_with={},
    )
    (reading,) = read_all([file], key, complete=True)
    return reading


def test_nothing_is_lost_by_a_reload_or_a_killed_browser(
    page: Path, profile: Path, booklet: Booklet
) -> None:
    with browser(profile) as window:
        window.show(page)
        window.click("button.begin")
        window.press("s", "5", "Enter", "r")
        kept = window.run(STATE)
        assert [len(kept["answers"]), kept["draft"]["choice"]] == [1, "real"]
        window.show(page)
        assert window.run("document.getElementById('where').textContent").startswith("Radiograph 2")
        assert window.run("form.elements.choice.value") == "real"
        # The browser writes within seconds; what was answered, found on the disk, says that it has.
        mark = booklet.marks[booklet.presentations[0][0]]
        store = profile / "Default" / "Local Storage" / "leveldb"
        until(lambda: any(holds(path, mark, '"choice":"real"') for path in store.glob("*.log")))
        until(lambda: rests(store))
    with browser(profile) as window:
        window.show(page)
        assert window.run(STATE) == kept


def rests(folder: Path) -> bool:
    """Whether nothing is being written: a record that is half on the disk counts for nothing after a kill."""

    def sizes() -> dict[Path, int]:
        return {path: path.stat().st_size for path in folder.iterdir()}

    before = sizes()
    time.sleep(1.0)
    return sizes() == before


def holds(path: Path, *texts: str) -> bool:
    """Whether a file has all texts in it, in one of the browser's two encodings."""
    content = path.read_bytes()
    return any(
        all(text.encode(encoding) in content for text in texts)
        for encoding in ("ascii", "utf-16-le")
    )


def test_a_browser_that_cannot_save_says_so(page: Path, profile: Path) -> None:
    with browser(profile) as window:
        broken = "Storage.prototype.setItem = () => { throw new Error('full'); };"
        window.tell("Page.addScriptToEvaluateOnNewDocument", source=broken)
        window.show(page)
        assert any("cannot keep your answers" in name for name in window.names("StaticText"))
        window.click("button.begin")
        window.press("r", "1", "Enter")
        assert window.run("document.getElementById('where').textContent").startswith("Radiograph 2")
