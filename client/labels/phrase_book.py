"""Finds phrases in a list of words, each in time that does not depend on how many phrases there are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Meaning = TypeVar("Meaning")


@dataclass(slots=True)
class _Node(Generic[Meaning]):
    """Where one has got to within the phrases that begin alike."""

    whole: dict[str, "_Node[Meaning]"] = field(default_factory=dict)
    begun: dict[str, "_Node[Meaning]"] = field(default_factory=dict)
    """By the beginning of the next word."""
    lengths: tuple[int, ...] = ()
    """Of these beginnings."""
    meanings: list[Meaning] = field(default_factory=list)


class PhraseBook(Generic[Meaning]):
    """Phrases and what they mean; a word that ends in a star stands for all that begin so."""

    def __init__(self, phrases: Iterable[tuple[Sequence[str], Meaning]]) -> None:
        """Take the phrases, as words, with their meanings; one phrase may have several."""
        self._root: _Node[Meaning] = _Node()
        for words, meaning in phrases:
            node = self._root
            for word in words:
                node = _step(node, word)
            node.meanings.append(meaning)

    def matches(self, words: Sequence[str], start: int) -> Iterator[tuple[int, list[Meaning]]]:
        """Every phrase that begins at a place, shorter ones first: the place after it, and its meanings."""
        nodes = [self._root]
        for end in range(start, len(words)):
            nodes = [follower for node in nodes for follower in _followers(node, words[end])]
            if not nodes:
                return
            meanings = [meaning for node in nodes for meaning in node.meanings]
            if meanings:
                yield end + 1, meanings

    def longest(self, words: Sequence[str], start: int) -> tuple[int, list[Meaning]] | None:
        """The longest phrase that begins at a place; None if there is none."""
        found = None
        for match in self.matches(words, start):
            found = match
        return found

    def scan(self, words: Sequence[str]) -> Iterator[tuple[int, int, list[Meaning]]]:
        """Phrases that do not overlap, from the left, the longest at each place: start, end, meanings."""
        start = 0
        while start < len(words):
            found = self.longest(words, start)
            if found is not None:
                yield start, found[0], found[1]
            start = start + 1 if found is None else found[0]


def _step(node: _Node[Meaning], word: str) -> _Node[Meaning]:
    """The node after a word of a phrase, made if need be."""
    if not word.endswith("*"):
        return node.whole.setdefault(word, _Node())
    beginning = word[:-1]
    node.lengths = tuple(sorted({*node.lengths, len(beginning)}))
    return node.begun.setdefault(beginning, _Node())


def _followers(node: _Node[Meaning], word: str) -> Iterator[_Node[Meaning]]:
    if word in node.whole:
        yield node.whole[word]
    for length in node.lengths:
        follower = node.begun.get(word[:length]) if len(word) >= length else None
        if follower is not None:
            yield follower
