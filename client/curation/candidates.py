"""Pairs of pictures that may be copies, out of half a million, without comparing every two.

The 54 bits of a fingerprint are dealt into 9 slices. Two fingerprints that differ in at most 7 bits agree on
at least 2 slices (pigeonhole), and most that differ in twice as many do; so for each two slices the pictures
are sorted by those 12 bits, and only neighbours that agree are compared further. Work grows with the number
of pictures times a bounded run of neighbours, memory with the number of pictures.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from client.curation.fingerprint import NUM_BITS, Fingerprints

Pairs = NDArray[np.int64]
"""(pair, 2), the earlier picture first."""

_NUM_SLICES = 9
_MAX_NEIGHBOURS = 256
"""Neighbours looked at on each side in one sorted order: a bound for pictures that all look alike."""
_MAX_BITS_APART = 17
_MIN_PRODUCT = 0.70
_MAX_PER_PICTURE = 8
"""Earlier pictures that one picture is compared with in full, likest first."""
_MAX_WAITING = 2**22
"""Pairs found before they are thinned out to that."""


def candidate_pairs(prints: Fingerprints, patients: NDArray[np.uint64]) -> Pairs:
    """Find pairs whose fingerprints lie close, sorted by the later picture.

    Pictures of one patient, where copies are most frequent, meet in any case.

    Args:
        prints: of n pictures.
        patients: (n,), the patient's opaque key.
    """
    found, waiting = np.empty((0, 2), np.int64), [np.empty((0, 2), np.int64)]
    for key in (patients, *_keys(prints.bits)):
        for first, second in _neighbours(key, prints):
            close = _are_close(prints, first, second)
            waiting.append(np.sort(np.stack([first[close], second[close]], axis=1)))
            if sum(map(len, waiting)) > _MAX_WAITING:
                found, waiting = _likest(prints, np.concatenate([found, *waiting])), []
    return _likest(prints, np.concatenate([found, *waiting]))


def _keys(bits: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
    """The bits of each two slices; slices are interleaved, so that each has slow and fast waves."""
    slices = [
        sum(1 << bit for bit in range(start, NUM_BITS, _NUM_SLICES)) for start in range(_NUM_SLICES)
    ]
    for one, other in combinations(slices, 2):
        yield bits & np.uint64(one | other)


def _neighbours(
    key: NDArray[np.uint64], prints: Fingerprints
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pictures of equal key, at most _MAX_NEIGHBOURS apart when ordered by their slowest wave."""
    order = np.lexsort((prints.waves[:, 0], key))
    key = key[order]
    places = np.arange(len(key))
    for distance in range(1, _MAX_NEIGHBOURS + 1):
        places = places[places + distance < len(key)]
        places = places[key[places] == key[places + distance]]
        if not places.size:
            return
        yield order[places], order[places + distance]


def _are_close(
    prints: Fingerprints, first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Positions of the pairs whose bits, and then whose waves, are alike."""
    apart = np.bitwise_count(prints.bits[first] ^ prints.bits[second])
    near = np.flatnonzero(apart <= _MAX_BITS_APART)
    return near[_product(prints, first[near], second[near]) >= _MIN_PRODUCT]


def _product(
    prints: Fingerprints, first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.float32]:
    ones = prints.waves[first].astype(np.float32)
    others = prints.waves[second].astype(np.float32)
    return np.asarray(np.einsum("pw,pw->p", ones, others))


def _likest(prints: Fingerprints, pairs: Pairs) -> Pairs:
    """At most _MAX_PER_PICTURE different pairs of each later picture, those with the largest product."""
    codes = np.unique(pairs[:, 1] * len(prints.bits) + pairs[:, 0])
    later, earlier = np.divmod(codes, max(len(prints.bits), 1))
    order = np.lexsort((earlier, -_product(prints, earlier, later), later))
    begins = np.searchsorted(later[order], later[order])
    place = np.arange(len(order)) - begins
    chosen = order[place < _MAX_PER_PICTURE]
    return np.stack([earlier[chosen], later[chosen]], axis=1)
