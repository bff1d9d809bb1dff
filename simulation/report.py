"""One page that shows what a simulation did; a single file, readable without a network."""

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from federation.config import study_digest
from federation.files import write_file
from model.generate import open_generator
from server.export import adapter_path, model_path
from server.progress import clock
from server.status import study_status
from server.store import StudyStore
from simulation.layout import Layout
from simulation.pictures import draw_comparison, draw_losses, draw_samples
from simulation.summary import Summary


def write_report(layout: Layout, store: StudyStore, summary: Summary) -> Path:
    """Draw the pictures and write ``report.html`` beside them."""
    status = study_status(store)
    adapter = adapter_path(store)
    generator = open_generator(
        model_path(store), adapter if adapter.exists() else None, layout.codec_path
    )
    draw_samples(layout.out / "samples.png", generator)
    last = len(store.study.stages) - 1
    adapter_start = store.study.first_round_of(last) if adapter.exists() else None
    draw_losses(layout.out / "losses.png", status, adapter_start=adapter_start)
    draw_comparison(layout.out / "comparison.png", summary)
    environment = Environment(
        loader=PackageLoader("simulation"), autoescape=select_autoescape(default=True)
    )
    down, up = status.traffic()
    page = environment.get_template("report.html").render(
        summary=summary,
        status=status,
        refused=[part for part in status.parts if part.state == "refused"],
        sites=list(status.latest_parts),
        digest=study_digest(store.study),
        model=store.study.model,
        is_private=any(stage.local.privacy for stage in store.study.stages),
        duration=clock(summary.seconds),
        down=down,
        up=up,
        pictures={
            name: _inline(layout.out / f"{name}.png")
            for name in ("samples", "losses", "comparison")
        },
    )
    write_file(layout.out / "report.html", page.encode())
    return layout.out / "report.html"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
