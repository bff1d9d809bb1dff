"""A headless Chromium, spoken to over its DevTools protocol, for tests of pages as people meet them."""

import base64
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

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATIENCE_SECONDS = 20.0
LOW_CONTRAST = """
(() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (node) => { for (; node; node = node.parentElement) { const rgb = parts(getComputedStyle(node).backgroundColor); if (rgb.length === 3 || rgb[3] > 0.99) return rgb; } return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255]; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility() || ["SCRIPT", "TITLE"].includes(node.tagName)) continue;
    const style = getComputedStyle(node), ink = parts(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`${text.slice(0, 40)} (${((a + 0.05) / (b + 0.05)).toFixed(2)})`);
  }
  return found;
})()
"""
"""Every visible text whose contrast with its ground is below 4.5 to 1 (WCAG 2.2, 1.4.3)."""


class Browser:
    """One window."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def show(self, url: str) -> None:
        """Open a page and wait until it is there."""
        self.run("window.isOld = true")
        self.tell("Page.navigate", url=url)
        self.await_page()

    def await_page(self) -> None:
        """Wait until another page than the last one is there."""
        until(lambda: self.run("document.readyState === 'complete' && !window.isOld"))

    def follow(self, script: str) -> None:
        """Do something in the page that leads to another one, and wait for it."""
        self.run("window.isOld = true")
        self.run(script)
        self.await_page()

    def click(self, name: str) -> None:
        """Press the visible button or link with this text, and wait for the page behind it."""
        self.follow(
            "[...document.querySelectorAll('button, a')].find("
            f"(it) => it.checkVisibility() && it.textContent.trim() === {json.dumps(name)}).click()"
        )

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
        try:
            answer = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        except AssertionError as err:
            if "Cannot find default execution context" in str(err) or "navigated" in str(err):
                return None  # between two pages
            raise
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def touch(self, selector: str) -> None:
        """Press the first visible element that fits, on a page that stays."""
        self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".find((it) => it.checkVisibility()).click()"
        )

    def press(self, *keys: str) -> None:
        """Keys as a person strikes them."""
        for key in keys:
            text = {"Enter": "\r", "Tab": ""}.get(key, key)
            code = {"Enter": 13, "Tab": 9}.get(key, 0)
            fields = {"key": key, "windowsVirtualKeyCode": code}
            self.tell("Input.dispatchKeyEvent", type="keyDown", text=text, **fields)
            self.tell("Input.dispatchKeyEvent", type="keyUp", **fields)

    def write(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.tell("Input.insertText", text=text)

    def names(self, role: str) -> list[str]:
        """What a screen reader says of the elements of one role."""
        nodes = self.tell("Accessibility.getFullAXTree")["nodes"]
        return [
            node["name"]["value"]
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    def wear(self, scheme: str, *, width: int = 1180, media: str = "screen") -> None:
        """Prefer ``light`` or ``dark``, in a window of some width, or on paper: ``print``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.tell("Emulation.setEmulatedMedia", media=media, features=features)
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=820,
            deviceScaleFactor=1,
            mobile=False,
        )

    def photograph(self) -> bytes:
        """The whole page as PNG."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(answer["data"])

    def is_too_wide(self) -> bool:
        """Whether the page has to be moved sideways."""
        return bool(self.run("document.documentElement.scrollWidth > innerWidth"))

    def low_contrasts(self) -> list[str]:
        """Texts that some people cannot read."""
        found: list[str] = self.run(LOW_CONTRAST)
        return found

    def complaints(self, *origins: str) -> list[object]:
        """Errors, violations of the page's policy, and everything asked of any other place."""
        bad: list[object] = [
            event
            for event in self.events
            if event.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}
        ]
        requests = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return bad + [url for url in requests if not url.startswith(origins)]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Chromium with a profile, new or used before; killed at the end, without a chance to save anything."""
    port_file = profile / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--no-proxy-server", "--hide-scrollbars", "--remote-debugging-port=0"),
            *(f"--user-data-dir={profile}", "about:blank"),
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
