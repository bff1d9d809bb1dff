"""A booklet as one page: pictures inline, answers kept by the reader's browser, nothing loaded from anywhere.

All pictures are stored without compression: compressed, the smooth ones would be shorter, and the length alone
could tell what is real.
"""

import base64
import hashlib

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, select_autoescape

from synthesis.inline_pictures import NO_COMPRESSION, png
from synthesis.reader_study.booklet import FORMAT_VERSION, Booklet


def environment() -> Environment:
    """Templates of the reader study."""
    return Environment(
        loader=PackageLoader("synthesis.reader_study"), autoescape=select_autoescape(default=True)
    )


def render_page(booklet: Booklet, pictures: UInt8[np.ndarray, "picture height width"]) -> str:
    """The page of one reader.

    Args:
        booklet: what is shown and in which order.
        pictures: by number; they stand in the page in the order of the first presentation.
    """
    marks, first = booklet.marks, booklet.presentations[0]
    content = {
        "format": FORMAT_VERSION,
        "study": booklet.study,
        "reader": booklet.reader,
        "presentations": [[marks[number] for number in turn] for turn in booklet.presentations],
        "pictures": {
            marks[number]: png(pictures[number], compression=NO_COMPRESSION) for number in first
        },
    }
    templates = environment()
    script = templates.get_template("reader.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = templates.get_template("reader.html")
    return page.render(booklet=booklet, content=content, script_digest=digest)
