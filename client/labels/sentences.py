"""The text of a report -> sentences of words, without the sections that say nothing of the picture."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

COMMA = ","
_TOKEN = re.compile(r"\d+[.,]\d+|[^\W_]+|[.;!?,:]")
_BULLET = re.compile(r"[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]")
_ENDS = {".", ";", "!"}
_SHORT_LINE = 50
"""Characters. Wrapped text runs on from line to line; a line shorter than this ends by intent."""
_MAX_HEADING = 4
"""Words."""

Words = list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What a language's reports look like; all words in lower case."""

    abbreviations: Collection[str]
    """Words whose full stop ends no sentence."""
    skipped: Collection[str]
    """Headings of sections that are not read."""
    read: Collection[str]
    """Headings of sections that are."""


def sentences(text: str, layout: Layout) -> Iterator[Words]:
    """Words in lower case and commas, sentence by sentence. Time and memory are linear in the text."""
    is_skipped = False
    for paragraph in _paragraphs(text):
        has_content = False
        for words, heading in _parts(paragraph, layout):
            if heading:
                is_skipped = heading in layout.skipped
            elif words:
                has_content = True
                if not is_skipped:
                    yield words
        # A section without a heading after it ends where its first paragraph does.
        is_skipped = is_skipped and not has_content


def _paragraphs(text: str) -> Iterator[list[str]]:
    """Lines between blank lines."""
    lines: list[str] = []
    for line in text.casefold().splitlines():
        if line.strip():
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _parts(lines: list[str], layout: Layout) -> Iterator[tuple[Words, str]]:
    """Sentences, and between them the headings that begin a section."""
    words: Words = []
    for line in lines:
        if _BULLET.match(line):
            yield words, ""
            words = []
        line_start = len(words)
        for piece in _TOKEN.findall(line):
            if piece == ":":
                rest, heading = _heading(words, line_start, layout)
                yield rest, ""
                yield [], heading
                words = [] if heading else words[len(rest) :]
                line_start = -_MAX_HEADING  # a second colon in a line begins nothing
            elif piece in _ENDS and not (words and words[-1] in layout.abbreviations):
                yield words, ""
                words, line_start = [], 0
            elif piece not in _ENDS:
                words.append(piece)
        if len(line.strip()) < _SHORT_LINE:
            yield words, ""
            words = []
    yield words, ""


def _heading(words: Words, line_start: int, layout: Layout) -> tuple[Words, str]:
    """What stands before a colon: words that belong to the sentence before, and a section's heading.

    `Heart: enlarged` has no section's heading, but begins a sentence if it begins a line.
    """
    for size in range(min(_MAX_HEADING, len(words)), 0, -1):
        heading = " ".join(words[-size:])
        if heading in layout.skipped or heading in layout.read:
            return words[:-size], heading
    begins_line = 0 < len(words) - line_start <= _MAX_HEADING
    return (words[:line_start] if begins_line else []), ""
