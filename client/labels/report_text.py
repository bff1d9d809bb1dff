"""Reads the text of a report by rule, in the manner of NegEx.

A phrase that names a finding makes it present, unless a cue in the same sentence negates it or doubts it. A
cue bears on what follows, up to a word that ends its reach, or on the few words before it (Chapman et al. 2001,
https://doi.org/10.1006/jbin.2001.1029). What the sentences say of a finding is joined: present before
uncertain before absent. A finding that no sentence names is not mentioned.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile

from client.labels.phrase_book import PhraseBook
from client.labels.report_terms import GAP, ReportTerms, phrase_words
from client.labels.sentences import COMMA, Layout, Words, sentences
from client.labels.states import ABSENT, NO_FINDING, NOT_MENTIONED, PRESENT, UNCERTAIN

MAX_CHARACTERS = 2**16
"""Nothing is made of a longer text: it is no radiograph's report."""
_REACH_BACK = 8
_REACH_ASIDE = 6
_MAX_GAP = 3
"""Words."""
_STRENGTH = {ABSENT: 0, UNCERTAIN: 1, PRESENT: 2}


class _Cue(Enum):
    """What a phrase does to the findings around it."""

    NOT = auto()
    NOT_BACK = auto()
    MAYBE = auto()
    MAYBE_BACK = auto()
    ASIDE = auto()
    NEUTRAL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a phrase says of one finding; of none if it only looks like one."""

    name: str
    state: str


@dataclass(slots=True)
class _Mention:
    """A finding in a sentence, and what is said of it."""

    finding: _Finding
    place: int
    verdict: str

    @property
    def state(self) -> str:
        """A phrase such as `normal heart size`, if it is denied, leaves its finding open.

        A phrase that names an abnormality in general, if it is denied, says that there is none.
        """
        if self.finding.state == PRESENT:
            return self.verdict
        if self.verdict == ABSENT and self.finding.name == NO_FINDING:
            return PRESENT
        return ABSENT if self.verdict == PRESENT else UNCERTAIN


@dataclass(slots=True)
class _Scope:
    """What bears on the next finding, while a sentence is read from left to right."""

    negated: bool = False
    doubted: bool = False
    aside_until: int = 0
    has_negated: bool = False
    """Whether the negation has met a finding yet."""
    at_next_item: bool = False
    """Whether a comma or an `and` has come since."""

    def hear(self, cue: _Cue, place: int) -> None:
        """Take up a cue that bears on what follows."""
        match cue:
            case _Cue.NOT:
                self.negated, self.doubted = True, False
                self.has_negated = self.at_next_item = False
            case _Cue.MAYBE:
                # `No opacity to suggest pneumonia` denies; `no effusion, possible pneumonia` does not.
                self.negated &= not self.at_next_item
                self.doubted = True
            case _Cue.ASIDE:
                self.aside_until = place + _REACH_ASIDE
            case _Cue.END:
                self.negated, self.doubted, self.aside_until = False, False, 0
            case _:
                pass

    def verdict(self) -> str:
        """What a finding met now is said to be."""
        self.has_negated |= self.negated
        self.at_next_item = False
        if self.negated:
            return ABSENT
        return UNCERTAIN if self.doubted else PRESENT


class ReportRules:
    """The rules of one language, made ready."""

    def __init__(self, terms: ReportTerms) -> None:
        """Make phrase books of the terms."""
        self._terms = terms
        mentions = list(_mentions(terms))
        self._findings = PhraseBook(entry for entry in mentions if GAP not in entry[0])
        self._gapped = PhraseBook(
            (words[: words.index(GAP)], PhraseBook([(words[words.index(GAP) + 1 :], finding)]))
            for words, finding in mentions
            if GAP in words
        )
        self._cues = PhraseBook(_cues(terms))
        self._affirming = PhraseBook((phrase_words(word), True) for word in terms.affirming)
        self._or = frozenset(word.casefold() for word in terms.or_words)
        self._and = frozenset(word.casefold() for word in terms.and_words)
        self._layout = Layout(
            abbreviations=frozenset(map(str.casefold, terms.abbreviations)),
            skipped=frozenset(" ".join(phrase_words(title)) for title in terms.skipped_sections),
            read=frozenset(" ".join(phrase_words(title)) for title in terms.read_sections),
        )

    def can_tell(self, finding: str) -> bool:
        """Whether the rules know the finding."""
        return finding in self._terms.findings

    def states(self, texts: Sequence[str], findings: Iterable[str]) -> dict[str, str]:
        """States of the findings asked for, of a report in one or more pieces.

        Findings that the rules do not know are left out, and all are if there is no text, or too much.
        """
        if not any(map(str.strip, texts)) or sum(map(len, texts)) > MAX_CHARACTERS:
            return {}
        strongest: dict[str, str] = {}
        for text in texts:
            for words in sentences(text, self._layout):
                for mention in self._read(words):
                    name, state = mention.finding.name, mention.state
                    if _STRENGTH[state] > _STRENGTH.get(strongest.get(name, ""), -1):
                        strongest[name] = state
        self._weigh_no_finding(strongest)
        known = (name for name in findings if self.can_tell(name))
        return {name: strongest.get(name, NOT_MENTIONED) for name in known}

    def _weigh_no_finding(self, states: dict[str, str]) -> None:
        others = {states.get(name) for name in self._terms.no_finding_excludes}
        if PRESENT in others:
            states[NO_FINDING] = ABSENT
        elif UNCERTAIN in others and states.get(NO_FINDING) == PRESENT:
            states[NO_FINDING] = UNCERTAIN

    def _read(self, words: Words) -> Iterator[_Mention]:
        """Findings of one sentence with what is said of them."""
        found = self._findings_in(words)
        cues = {
            start: _as_last(kinds, is_last=end == len(words))
            for start, end, kinds in self._cues.scan(words)
        }
        joins = self._places_joined_by_or(words, cues)
        scope, clause, done = _Scope(), list[_Mention](), list[_Mention]()
        for place, word in enumerate(words):
            for finding in found.get(place, ()):
                if place >= scope.aside_until:
                    clause.append(_Mention(finding, place, scope.verdict()))
            if word == COMMA or word in self._and:
                scope.at_next_item = scope.has_negated
                if not joins[place]:
                    scope.doubted &= word != COMMA
                    scope.negated &= self._affirming.longest(words, place + 1) is None
            for cue in cues.get(place, ()):
                scope.hear(cue, place)
                if cue is _Cue.END:
                    done += clause
                    clause = []
                self._look_back(cue, place, words, clause)
        yield from done
        yield from clause

    def _look_back(self, cue: _Cue, place: int, words: Words, clause: Sequence[_Mention]) -> None:
        """Let a cue bear on the findings shortly before it, as far as the list that they stand in goes."""
        if cue not in {_Cue.NOT_BACK, _Cue.MAYBE_BACK}:
            return
        first = place
        while first > max(0, place - _REACH_BACK):
            if words[first - 1] == COMMA and words[first] not in self._or | self._and:
                break
            first -= 1
        for mention in takewhile(lambda mention: mention.place >= first, reversed(clause)):
            mention.verdict = ABSENT if cue is _Cue.NOT_BACK else UNCERTAIN

    def _places_joined_by_or(self, words: Words, cues: Mapping[int, Sequence[_Cue]]) -> list[bool]:
        """For every place whether an `or` follows before the reach of what stands there ends."""
        joined = [False] * (len(words) + 1)
        for place in range(len(words) - 1, -1, -1):
            ends = _Cue.END in cues.get(place, ())
            joined[place] = not ends and (words[place] in self._or or joined[place + 1])
        return joined

    def _findings_in(self, words: Words) -> dict[int, list[_Finding]]:
        """Place -> findings named there; a phrase with a gap is named where its second part begins."""
        found: dict[int, list[_Finding]] = {}
        for start, _, findings in self._findings.scan(words):
            found[start] = list(findings)
        for start in range(len(words)):
            for end, tails in self._gapped.matches(words, start):
                for tail in tails:
                    place, findings = self._past_gap(tail, words, end)
                    found.setdefault(place, []).extend(findings)
        return {place: [f for f in here if f.name] for place, here in found.items()}

    def _past_gap(
        self, tail: PhraseBook[_Finding], words: Words, start: int
    ) -> tuple[int, list[_Finding]]:
        """Where, not far behind its first part, the second part of a phrase begins, and what it then names."""
        for place in range(start, min(start + _MAX_GAP + 1, len(words))):
            match = tail.longest(words, place)
            if match is not None:
                return place, match[1]
            if words[place] == COMMA or words[place] in self._and:
                break
        return start, []


def _as_last(cues: Sequence[_Cue], *, is_last: bool) -> Sequence[_Cue]:
    """A negation with nothing after it, as in `pneumothorax: no`, bears on what stands before it."""
    return [_Cue.NOT_BACK if is_last and cue is _Cue.NOT else cue for cue in cues]


def _mentions(terms: ReportTerms) -> Iterator[tuple[tuple[str, ...], _Finding]]:
    for name, mentions in terms.findings.items():
        for phrase in mentions.present:
            yield phrase_words(phrase), _Finding(name, PRESENT)
        for phrase in mentions.absent:
            yield phrase_words(phrase), _Finding(name, ABSENT)
    for phrase in terms.not_findings:
        yield phrase_words(phrase), _Finding("", PRESENT)


def _cues(terms: ReportTerms) -> Iterator[tuple[tuple[str, ...], _Cue]]:
    kinds = (
        (_Cue.NOT, terms.negation.before),
        (_Cue.NOT_BACK, terms.negation.after),
        (_Cue.MAYBE, terms.doubt.before),
        (_Cue.MAYBE_BACK, terms.doubt.after),
        (_Cue.ASIDE, terms.aside),
        (_Cue.NEUTRAL, terms.neutral),
        (_Cue.END, terms.ends),
    )
    for cue, phrases in kinds:
        for phrase in phrases:
            yield phrase_words(phrase), cue
