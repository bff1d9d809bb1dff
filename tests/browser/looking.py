"""Looking at a console's pages as everybody meets them, and the pictures of the documentation."""

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.browser.chromium import Browser
from tests.browser.served import Served

WANTED = os.environ.get("FEDCXR_SCREENSHOTS", "")
"""``docs``: the pictures of the documentation are drawn anew. A folder: it gets a picture of every page."""
IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"
IN_DOCUMENTATION = frozenset(
    {
        *("coordinator-studies", "coordinator-study", "coordinator-study-dark"),
        *("coordinator-hospitals", "hospital-today", "hospital-today-dark", "hospital-plan"),
        *("hospital-left", "hospital-ledger-dark", "hospital-log"),
    }
)


INK = "getComputedStyle(document.body).color"
TABLES_BY_KEYBOARD = """
[...document.querySelectorAll('table')].every((it) => {
  const around = it.closest('.wide');
  return around && around.tabIndex === 0 && around.ariaLabel && it.querySelector('th[scope]');
})
"""
"""Whether a table that is wider than the window can be moved without a mouse, and says what it is."""


def sign_in(window: Browser, console: Served, name: str) -> None:
    """Enter as a person does who has no mouse."""
    window.show(console.url)
    look_at(window, name)
    assert window.names("textbox") == ["Password"]
    window.write(console.passwords[-1])  # the field has the focus
    window.run("window.isOld = true")
    window.press("Enter")
    window.await_page()


def look_at(window: Browser, name: str) -> None:
    """Nothing too faint, in light, in dark or on paper; nothing too wide, on a telephone; nothing without a name."""
    window.wear("light", width=390)
    assert not window.is_too_wide()
    picture(window, f"{name}-narrow")
    ink = window.run(INK)
    assert window.run(TABLES_BY_KEYBOARD)
    window.wear("dark", media="print")
    assert window.low_contrasts() == []
    assert window.run(INK) == ink  # paper is white whatever the screen was
    for scheme in ("dark", "light"):
        window.wear(scheme)
        assert window.low_contrasts() == []
        picture(window, f"{name}-dark" if scheme == "dark" else name)
    for role in ("heading", "link", "button", "textbox", "checkbox", "image"):
        assert "" not in window.names(role)
    assert levels(window).count(1) == 1


def levels(window: Browser) -> list[int]:
    """Of the page's headings, in order."""
    script = "[...document.querySelectorAll('h1, h2, h3')].map((it) => Number(it.tagName[1]))"
    found: list[int] = window.run(script)
    return found


def picture(window: Browser, name: str) -> None:
    """Keep a picture of the page, if pictures are asked for."""
    folder = IMAGES if WANTED == "docs" else Path(WANTED)
    if WANTED and (folder != IMAGES or name in IN_DOCUMENTATION):
        photograph = Image.open(BytesIO(window.photograph())).convert("RGB")
        photograph.quantize(256).save(folder / f"console-{name}.png", optimize=True)


def text(window: Browser) -> str:
    """What the page says."""
    return str(window.run("document.querySelector('main').innerText"))
