"""The words by which report text is read: one YAML file a language."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from federation.strict_yaml import STRICT
from model.conditioning import FINDINGS

GAP = ".."
"""Stands in a phrase for up to three words that are not part of it."""
_WORD = re.compile(r"[^\W_]+\*?|\?")
_MAX_WORDS = 8


def phrase_words(phrase: str) -> tuple[str, ...]:
    """A phrase as words, each whole or, with a star, the beginning of one; GAP stands between two."""
    parts = [_WORD.findall(part.casefold()) for part in phrase.split(GAP)]
    return (*parts[0], *(word for part in parts[1:] for word in (GAP, *part)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mentions:
    """How reports speak of one finding."""

    present: tuple[str, ...] = ()
    """Phrases that name it."""
    absent: tuple[str, ...] = ()
    """Phrases that say by themselves that it is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cues:
    """Phrases that change what is said of a finding."""

    before: tuple[str, ...] = ()
    """They bear on what follows in the sentence."""
    after: tuple[str, ...] = ()
    """They bear on what stands shortly before them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportTerms:
    """Rules for reading reports in one language.

    A phrase is some words; ``opacit*`` stands for every word that begins so, and ``heart .. enlarged`` allows up
    to three words between. Of several phrases that begin at a word, the longest counts.
    """

    __pydantic_config__: ClassVar = STRICT

    findings: Mapping[str, Mentions]
    """Finding -> the phrases that speak of it. One phrase may speak of several."""
    other_findings: tuple[str, ...] = ()
    """Findings beyond CheXpert's fourteen."""
    no_finding_excludes: tuple[str, ...] = ()
    """Findings with which there is no ``no_finding``."""
    not_findings: tuple[str, ...] = ()
    """Phrases that hold a word for a finding and mean something else."""
    negation: Cues
    doubt: Cues
    aside: tuple[str, ...] = ()
    """Phrases after which a finding is not said of this radiograph: history, questions, plans."""
    neutral: tuple[str, ...] = ()
    """Phrases that hold a cue and are none, as in `no change`."""
    ends: tuple[str, ...] = ()
    """Phrases at which everything that came before ceases to bear on what follows."""
    affirming: tuple[str, ...] = ()
    """Words that, after a comma or an `and`, end a negation."""
    or_words: tuple[str, ...]
    """Words that keep a list going."""
    and_words: tuple[str, ...]
    abbreviations: tuple[str, ...] = ()
    """Words whose full stop ends no sentence."""
    skipped_sections: tuple[str, ...] = ()
    """Headings of what was known or asked before the radiograph."""
    read_sections: tuple[str, ...] = ()
    """Headings of what was seen on it."""

    def __post_init__(self) -> None:
        named = {*self.findings, *self.no_finding_excludes}
        unknown = sorted(named - {*FINDINGS, *self.other_findings})
        if unknown:
            raise ValueError(
                f"there is no finding {', '.join(unknown)}: the model's are {', '.join(FINDINGS)}, and "
                "every other one must stand in other_findings"
            )
        for mentions in self.findings.values():
            _check(mentions.present + mentions.absent)
        kinds = [self.aside, self.neutral, self.ends]
        for cues in (self.negation, self.doubt):
            _check(cues.before)
            _check(cues.after)
            # A cue may bear both ways; it may not mean two things.
            ways = dict.fromkeys(map(phrase_words, cues.before + cues.after))
            kinds.append(tuple(map(" ".join, ways)))
        _check([phrase for kind in kinds for phrase in kind])
        _check(self.not_findings)


def _check(phrases: Iterable[str]) -> None:
    counts = Counter(map(phrase_words, phrases))
    for words, count in counts.items():
        text = " ".join(words)
        if not words or words[0] == GAP or words[-1] == GAP or words.count(GAP) > 1:
            raise ValueError(f"the phrase {text!r} needs words on both sides of its one gap")
        if len(words) > _MAX_WORDS:
            raise ValueError(f"the phrase {text!r} has more than {_MAX_WORDS} words")
        if count > 1:
            raise ValueError(f"the phrase {text!r} stands twice where only one meaning can hold")
