"""The page that shows a simulation: one file for itself, hostile text harmless, refusals with their reasons."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from server.records import Part
from server.store import StudyStore
from simulation.config import SimulationConfig
from simulation.layout import Layout
from simulation.report import write_report
from simulation.summary import Summary

pytestmark = pytest.mark.slow

Plan = Callable[..., SimulationConfig]
Simulated = tuple[Path, Summary, list[str]]
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x.png>"


class Page(HTMLParser):
    """Every tag, and everything the page would load or lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember."""
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "srcset"}]


def test_the_page_is_complete_in_itself(mini_simulation: Simulated) -> None:
    text = (mini_simulation[0] / "report.html").read_text()
    page = Page(text)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "script" not in page.tags
    assert len(page.loads) == page.tags.count("img") == 3
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)


def test_the_page_says_what_the_summary_says(mini_simulation: Simulated) -> None:
    out, summary, _ = mini_simulation
    text = (out / "report.html").read_text()
    assert summary.verdict() in text
    for name, loss in summary.rows():
        assert f'<th scope="row">{name}</th><td>{loss:.4f}</td>' in text
    assert "None: every hospital's update was admitted in every round." in text


@pytest.fixture
def copied(mini_simulation: Simulated, memory_path: Path) -> Layout:
    return Layout(shutil.copytree(mini_simulation[0], memory_path / "out"))


def test_a_refused_update_is_named_with_hospital_and_reason_and_hostile_text_stays_text(
    copied: Layout,
    mini_simulation: Simulated,
    mini_plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulation.pictures.NUM_STEPS", 1)
    store = StudyStore.create(copied.coordinator, mini_plan().study)
    refusals = [
        Part(number=1, site="hospital-b", attempt=1, state="refused", reason="it is not finite"),
        Part(number=2, site=HOSTILE, attempt=1, state="refused", reason=HOSTILE),
    ]
    for part in refusals:
        store.record(part)
    summary = replace(mini_simulation[1], out=copied.out, name=HOSTILE)
    text = write_report(copied, store, summary).read_text()
    page = Page(text)
    assert (
        '<td>1</td><th scope="row" class="text">hospital-b</th><td class="text">it is not finite</td>'
        in text
    )
    assert "script" not in page.tags
    assert all(load.startswith("data:") for load in page.loads)
    assert text.count("&lt;script&gt;") >= 3
    assert "None: every hospital" not in text
