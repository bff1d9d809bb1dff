"""The reader's page in a real browser."""

import time
from pathlib import Path

import numpy as np
import pytest

from synthesis.reader_study.answers import Reading, read_all
from synthesis.reader_study.booklet import Booklet, Key, make_booklet
from synthesis.reader_study.page import render_page
from tests.browser.chromium import CHROMIUM, browser, until

NUM_PICTURES = 3
STATE = "JSON.parse(localStorage.getItem(place))"
WHERE = "document.getElementById('where').textContent"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


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
        window.show(page.as_uri())
        window.press("r", "3", "Enter")
        assert window.run(STATE) is None  # nothing counts before the reader begins
        window.touch("button.begin")
        assert "Radiograph 1 of 3, part 1 of 2" in window.names("heading")
        assert window.names("image") == ["Radiograph 1 of 3, part 1 of 2"]
        assert window.names("radio")[:3] == ["real", "synthetic", "1 of 5, a guess"]

        window.press("Enter")
        assert window.run(STATE)["answers"] == []  # no answer without a choice
        window.press("s", "5", "Enter")
        window.touch("input[value=real]")
        window.touch("input[value='2']")
        window.run("document.getElementById('comment').focus()")
        window.press("s", "1")  # a comment, not an answer
        window.touch("button[type=submit]")
        window.press("r", "s", "1", "Enter")
        assert window.names("heading")[-1] == "That part is done"
        window.touch("button.begin")
        window.press(*("r", "4", "Enter") * NUM_PICTURES)
        assert window.names("heading")[-1] == "Thank you, that was the last one"
        window.touch("button.download")
        until(file.exists)
        assert window.complaints("file:", "data:", "blob:") == []

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
        window.show(page.as_uri())
        window.touch("button.begin")
        window.press("s", "5", "Enter", "r")
        kept = window.run(STATE)
        assert [len(kept["answers"]), kept["draft"]["choice"]] == [1, "real"]
        window.show(page.as_uri())
        until(lambda: window.run(WHERE).startswith("Radiograph 2"))
        assert window.run("form.elements.choice.value") == "real"
        # The browser writes within seconds; what was answered, found on the disk, says that it has.
        mark = booklet.marks[booklet.presentations[0][0]]
        store = profile / "Default" / "Local Storage" / "leveldb"
        until(lambda: any(holds(path, mark, '"choice":"real"') for path in store.glob("*.log")))
        until(lambda: rests(store))
    with browser(profile) as window:
        window.show(page.as_uri())
        assert window.run(STATE) == kept


def test_a_page_that_hears_late_of_what_was_kept_follows_it(page: Path, profile: Path) -> None:
    with browser(profile) as window:
        window.show(page.as_uri())
        window.touch("button.begin")
        window.press("s", "5", "Enter")
        late = window.run("localStorage.getItem(place)")
        window.run("localStorage.removeItem(place)")
        window.show(page.as_uri())
        assert window.run(WHERE) == ""
        assert window.run(STATE) is None  # loading alone writes nothing over what may be on its way
        window.run(f"localStorage.setItem(place, {late!r})")
        window.run("dispatchEvent(new StorageEvent('storage', {key: place})), true")
        assert window.run(WHERE).startswith("Radiograph 2")


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
        window.show(page.as_uri())
        assert any("cannot keep your answers" in name for name in window.names("StaticText"))
        window.touch("button.begin")
        window.press("r", "1", "Enter")
        assert window.run("document.getElementById('where').textContent").startswith("Radiograph 2")
