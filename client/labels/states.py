"""The terms that one row says -> the states of the findings.

A term that is not said leaves its findings to silence, which the table's shape gives a meaning: absent
(everything that is there is listed), not mentioned (the report does not speak of it), or unknown.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from client.labels.mapping import FindingWords, LabelMapping
from client.labels.words import plain

PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED = "present", "absent", "uncertain", "not_mentioned"
UNKNOWN = "unknown"
"""Not a state of the model: the finding is left out."""
NO_FINDING = "no_finding"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is made of one finding."""

    state: str
    """One of the model's states, or UNKNOWN."""
    told: bool = False
    """Whether the row says so itself, rather than by its silence."""
    is_conflict: bool = False
    """Whether the row says two things."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A list of terms, understood."""

    said: Mapping[str, str]
    """Plain term -> state."""
    is_complete: bool
    """Whether silence about the other terms means anything: nothing in it stands for more than is understood."""
    is_void: bool
    """Whether the list says of itself that it says nothing."""
    num_conflicts: int
    """Terms that stand there with two states."""
    unmapped: tuple[str, ...]
    """Terms that the mapping does not know, as they stand there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """The states of one row, and how often it contradicts itself."""

    states: Mapping[str, str]
    """Finding -> state; findings left out are unknown."""
    num_conflicts: int


class Lexicon:
    """What the terms of a mapping mean in a table that can say some of them."""

    def __init__(self, mapping: LabelMapping, sayable: Collection[str] | None) -> None:
        """Prepare for a table that can say the given plain terms, or all of them for None."""
        self._mapping, self._sayable = mapping, sayable
        self._words = {
            finding: FindingWords(
                present=tuple(map(plain, words.present)),
                uncertain=tuple(map(plain, words.uncertain)),
                absent=tuple(map(plain, words.absent)),
                complete=words.complete,
            )
            for finding, words in mapping.findings.items()
        }
        self._parents: dict[str, list[str]] = {}
        for parent, children in mapping.parents.items():
            for child in children:
                self._parents.setdefault(child, []).append(plain(parent))
        told = (term for words in self._words.values() for term in words.terms)
        self.terms = frozenset(told).union(*self._parents.values())
        self._hedges = tuple(map(plain, mapping.uncertain_words))
        self._open_ended = frozenset(map(plain, mapping.open_ended))
        self._void = frozenset(map(plain, mapping.void))
        self._silent = self._open_ended | self._void | frozenset(map(plain, mapping.ignored))

    def can_tell(self, finding: str) -> bool:
        """Whether a row could say anything of the finding."""
        terms = self._words[finding].terms if finding in self._words else ()
        return any(self._is_sayable(term) for term in (*terms, *self._parents.get(finding, ())))

    def listen(self, terms: Iterable[tuple[str, str]]) -> Heard:
        """Understand terms as they stand in the table, each with the state that it is given there."""
        said: dict[str, str] = {}
        silent: set[str] = set()
        unmapped = []
        num_conflicts = 0
        for words, given in terms:
            term, is_certain = self._understand(words)
            if term in self.terms:
                state = UNCERTAIN if given == PRESENT and not is_certain else given
                num_conflicts += _say(said, term, state)
            elif term in self._silent:
                silent.add(term)
            elif term:
                unmapped.append(words)
        return Heard(
            said=said,
            is_complete=not unmapped and not silent & self._open_ended,
            is_void=bool(silent & self._void),
            num_conflicts=num_conflicts,
            unmapped=tuple(unmapped),
        )

    def interpret(self, said: Mapping[str, str], silence: str) -> Meaning:
        """States of every finding that can be told.

        Args:
            said: plain term -> state, of the terms that the row says.
            silence: what it means of the other terms, one of ABSENT, NOT_MENTIONED, UNKNOWN.
        """
        heard = {term: said.get(term, self._unsaid(term, silence)) for term in self.terms}
        verdicts = {finding: _verdict(words, said, heard) for finding, words in self._words.items()}
        num_conflicts = sum(verdict.is_conflict for verdict in verdicts.values())
        self._hear_parents(verdicts, heard)
        num_conflicts += self._weigh_no_finding(verdicts)
        states = {name: v.state for name, v in verdicts.items() if v.state != UNKNOWN}
        return Meaning(states=states, num_conflicts=num_conflicts)

    def _understand(self, words: str) -> tuple[str, bool]:
        """A plain term without the words that make it uncertain, and whether there were none."""
        term = plain(words)
        if term not in self.terms:
            for hedge in self._hedges:
                bare = term.removeprefix(f"{hedge}_").removesuffix(f"_{hedge}")
                if bare in self.terms:
                    return bare, False
        return term, "?" not in words

    def _is_sayable(self, term: str) -> bool:
        return self._sayable is None or term in self._sayable

    def _unsaid(self, term: str, silence: str) -> str:
        return silence if self._is_sayable(term) else UNKNOWN

    def _hear_parents(self, verdicts: dict[str, Verdict], heard: Mapping[str, str]) -> None:
        for child, parents in self._parents.items():
            own = verdicts.get(child)
            if own is None or not own.told:
                verdicts[child] = _as_child(own, {heard[parent] for parent in parents})

    def _weigh_no_finding(self, verdicts: dict[str, Verdict]) -> int:
        """Let `no_finding` and the findings that it excludes bear on each other; returns conflicts."""
        nothing, excluded = verdicts.get(NO_FINDING), self._mapping.no_finding_excludes
        if nothing is None or not excluded:
            return 0
        told = [verdicts[name] for name in excluded if name in verdicts]
        anything = any(verdict.state == PRESENT for verdict in told)
        if nothing.state == PRESENT and anything:
            verdicts[NO_FINDING] = Verdict(UNKNOWN)
            return 1
        if nothing.state == PRESENT:
            silent = [name for name in excluded if name not in verdicts or not verdicts[name].told]
            verdicts.update(dict.fromkeys(silent, Verdict(ABSENT)))
        elif anything and not nothing.told:
            verdicts[NO_FINDING] = Verdict(ABSENT)
        return 0


def _say(said: dict[str, str], term: str, state: str) -> bool:
    """Add a term; returns whether it contradicts what is said already."""
    before = said.get(term, state)
    if before == state or {before, state} == {PRESENT, UNCERTAIN}:
        said[term] = PRESENT if PRESENT in {before, state} else state
        return False
    said[term] = UNKNOWN
    return before != UNKNOWN


def _verdict(words: FindingWords, said: Mapping[str, str], heard: Mapping[str, str]) -> Verdict:
    """Of several terms, one that affirms outweighs one that doubts, and that one all silence."""
    denied = any(said.get(term) == PRESENT for term in words.absent)
    states = [heard[term] for term in words.present]
    states += [UNCERTAIN if heard[t] == PRESENT else heard[t] for t in words.uncertain]
    if PRESENT in states or UNCERTAIN in states:
        if denied:
            return Verdict(UNKNOWN, told=True, is_conflict=True)
        return Verdict(PRESENT if PRESENT in states else UNCERTAIN, told=True)
    if denied:
        return Verdict(ABSENT, told=True)
    # A term that only makes it possible says nothing when it is not said, unless there is no other.
    states = [heard[term] for term in words.present or words.uncertain]
    if not states or UNKNOWN in states or (ABSENT in states and not words.complete):
        return Verdict(UNKNOWN, told=any(said.get(term) == UNKNOWN for term in words.terms))
    if NOT_MENTIONED in states:
        return Verdict(NOT_MENTIONED)
    return Verdict(ABSENT, told=all(term in said for term in words.present or words.uncertain))


def _as_child(own: Verdict | None, parents: set[str]) -> Verdict:
    """A finding of which only the terms that comprise it, and perhaps its own silence, are known."""
    if parents & {PRESENT, UNCERTAIN}:
        return Verdict(UNKNOWN)
    if ABSENT in parents:
        return Verdict(ABSENT)
    if own is not None:
        return own
    return Verdict(NOT_MENTIONED if parents == {NOT_MENTIONED} else UNKNOWN)
