"""Changes that are sent for: used as they come, no sooner than checked, never more of them here than there is room for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.messages import Delivered, Refusal, RefusalCode
from federation.parcel import Parcel, ReadShard, pack_inline, shards_in_memory
from model.arrays import Arrays, digest_arrays
from model.tensors import InMemory, Piece, pieces_of
from server.aggregation.coordinate import CELL
from server.collection import Came, Collection, Expected, Spoilt, Words, sum_of_squares

SHARD_VALUES = 8
SHAPES = {"a": (3, 8), "b": (5,), "c": (4, 4)}
NUM_SHARDS = 6
SHARD_BYTES = 4 * SHARD_VALUES


def drawn(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


@dataclass
class Shelf:
    """Hospitals that leave what they are asked for, and how much of it lies here."""

    contents: dict[str, tuple[Parcel, bytes]]
    refusing: dict[str, Refusal] = field(default_factory=dict)
    asked: list[tuple[tuple[str, ...], tuple[int, ...]]] = field(default_factory=list)
    here: set[tuple[str, int]] = field(default_factory=set)
    most: int = 0

    def fetch(
        self, wanted: Mapping[str, Parcel], shards: Sequence[int], *, number: int, num_spare: int
    ) -> Words:
        """Ask now, and come one after the other."""
        assert (number, num_spare) == (7, 1)
        self.asked.append((tuple(wanted), tuple(shards)))
        return self._come(wanted, shards)

    def _come(self, wanted: Mapping[str, Parcel], shards: Sequence[int]) -> Words:
        for shard in shards:
            for site in wanted:
                if site in self.refusing:
                    yield site, self.refusing[site]
                    continue
                self.here.add((site, shard))
                self.most = max(self.most, len(self.here))
                if shard != shards[-1]:
                    yield site, Came(shards=(shard,))
        # of the last shard there is no word but that all are here
        for site, parcel in wanted.items():
            yield site, Delivered(parcel_digest=parcel.digest)

    def bring(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> ReadShard:
        """Only what is here."""
        assert number == 7
        whole = shards_in_memory(parcel, self.contents[site][1])

        def read(shard: int, first: int, last: int) -> bytes:
            assert shard in shards
            assert (site, shard) in self.here
            return whole(shard, first, last)

        return read

    def drop(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> None:
        """Some shards go."""
        assert number == 7
        assert parcel == self.contents[site][0]
        self.here -= {(site, shard) for shard in shards}


def norm_of(change: Arrays) -> float:
    return math.sqrt(
        sum(float(np.square(part, dtype=np.float64).sum()) for part in change.values())
    )


def shelf_of(changes: Mapping[str, Arrays]) -> Shelf:
    return Shelf(
        {
            site: pack_inline(InMemory(change), "fp32", shard_values=SHARD_VALUES)
            for site, change in changes.items()
        }
    )


def collection_of(
    changes: Mapping[str, Arrays], shelf: Shelf, *, max_scratch: int | None = None
) -> Collection:
    expected = {
        site: Expected(parcel=shelf.contents[site][0], norm=norm_of(change), read=None)
        for site, change in changes.items()
    }
    return Collection(
        number=7, expected=expected, source=shelf, num_spare=1, max_scratch=max_scratch
    )


def read_all(collection: Collection) -> dict[str, dict[str, np.ndarray]]:
    """Every value of every site, site after site within each piece, as the arithmetic reads them."""
    tensors = collection.tensors()
    found: dict[str, dict[str, list[np.ndarray]]] = {
        site: {n: [] for n in SHAPES} for site in tensors
    }
    for piece in pieces_of(SHAPES, max_values=4):
        for site in tensors:
            found[site][piece.name].append(tensors[site].piece(piece))
    return {
        site: {name: np.concatenate(parts).reshape(SHAPES[name]) for name, parts in each.items()}
        for site, each in found.items()
    }


CHANGES = {"n": drawn(1), "s": drawn(2)}


def test_everything_is_sent_for_at_once_where_there_is_room() -> None:
    shelf = shelf_of(CHANGES)
    collection = collection_of(CHANGES, shelf)
    found = read_all(collection)
    assert shelf.asked == [(("n", "s"), tuple(range(NUM_SHARDS)))]
    for site, change in CHANGES.items():
        assert digest_arrays(found[site]) == digest_arrays(change)


@pytest.mark.parametrize("num_each", [1, 2])
def test_with_a_cap_no_more_shards_lie_here_than_it_allows(num_each: int) -> None:
    shelf = shelf_of(CHANGES)
    collection = collection_of(CHANGES, shelf, max_scratch=4 * num_each * SHARD_BYTES)
    found = read_all(collection)
    collection.finish()
    assert shelf.most <= 4 * num_each
    assert [shard for _, shards in shelf.asked for shard in shards] == list(range(NUM_SHARDS))
    for site, change in CHANGES.items():
        assert digest_arrays(found[site]) == digest_arrays(change)


def test_the_next_batch_is_sent_for_before_this_one_is_used() -> None:
    shelf = shelf_of(CHANGES)
    tensors = collection_of(CHANGES, shelf, max_scratch=4 * SHARD_BYTES).tensors()
    tensors["s"].piece(Piece(name="a", start=0, stop=8))
    assert [shards for _, shards in shelf.asked] == [(0,), (1,)]


def test_a_cap_below_a_single_shard_of_each_still_lets_the_round_go_on() -> None:
    shelf = shelf_of(CHANGES)
    read_all(collection_of(CHANGES, shelf, max_scratch=1))
    assert len(shelf.asked) == NUM_SHARDS


def test_what_has_come_is_used_while_the_rest_is_still_coming() -> None:
    shelf = shelf_of(CHANGES)
    tensors = collection_of(CHANGES, shelf).tensors()
    for site in CHANGES:
        tensors[site].piece(Piece(name="a", start=8, stop=16))
    assert shelf.here == {(site, shard) for site in CHANGES for shard in (0, 1)}


def with_nan_at_the_end(*, max_scratch: int | None = None) -> Collection:
    said = {"n": drawn(1), "z": drawn(3)}
    bad = {name: part.copy() for name, part in said["z"].items()}
    bad["c"][3, 3] = np.nan
    return collection_of(said, shelf_of({**said, "z": bad}), max_scratch=max_scratch)


def test_no_value_is_used_before_every_value_of_its_shard_was_checked() -> None:
    tensors = with_nan_at_the_end().tensors()
    tensors["z"].piece(Piece(name="c", start=0, stop=8))
    with pytest.raises(Spoilt, match="z: tensor c holds NaN or infinity") as spoilt:
        tensors["z"].piece(Piece(name="c", start=8, stop=9))
    assert (spoilt.value.site, spoilt.value.refusal.code) == ("z", RefusalCode.NOT_FINITE)


@pytest.mark.parametrize("max_scratch", [None, 2 * SHARD_BYTES])
def test_no_round_ends_before_every_value_of_every_site_was_checked(
    max_scratch: int | None,
) -> None:
    collection = with_nan_at_the_end(max_scratch=max_scratch)
    with pytest.raises(Spoilt, match="z: tensor c holds NaN or infinity"):
        collection.finish()  # as if no rule had read it


@given(
    arrays(np.float32, st.integers(0, 3 * CELL), elements=st.floats(width=32)),
)
def test_a_sum_of_squares_is_that_of_float64_and_not_finite_if_any_value_is_not(
    values: np.ndarray,
) -> None:
    expected = math.fsum(np.square(values, dtype=np.float64).tolist())
    assert sum_of_squares(values) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert math.isfinite(sum_of_squares(values)) == np.isfinite(values).all()


@pytest.mark.parametrize("max_scratch", [None, 2 * SHARD_BYTES])
def test_a_change_that_is_larger_than_was_said_is_found_out(max_scratch: int | None) -> None:
    shelf = shelf_of(CHANGES)
    said = {"n": CHANGES["n"], "s": {name: part / 2 for name, part in CHANGES["s"].items()}}
    collection = collection_of(said, shelf, max_scratch=max_scratch)
    with pytest.raises(Spoilt, match="s: its change has norm") as spoilt:
        read_all(collection)  # the last batch brings it to light
    assert spoilt.value.refusal.code == RefusalCode.NORM


@pytest.mark.parametrize("max_scratch", [None, 2 * SHARD_BYTES])
def test_a_shard_that_is_larger_than_the_whole_was_said_to_be_is_never_used(
    max_scratch: int | None,
) -> None:
    large = {name: part * np.float32(1e30) for name, part in CHANGES["s"].items()}
    shelf = shelf_of({"n": CHANGES["n"], "s": large})
    tensors = collection_of(CHANGES, shelf, max_scratch=max_scratch).tensors()
    with pytest.raises(Spoilt, match=r"s: its change has norm .*e\+30 or more, and it says"):
        tensors["s"].piece(Piece(name="a", start=0, stop=1))


def test_a_hospital_that_does_not_deliver_is_named_with_its_reason() -> None:
    shelf = shelf_of(CHANGES)
    shelf.refusing["s"] = Refusal(code=RefusalCode.NOT_KEPT, reason="it is gone")
    with pytest.raises(Spoilt, match="s: it is gone"):
        read_all(collection_of(CHANGES, shelf))


def test_what_came_inside_messages_is_checked_at_once_and_never_sent_for() -> None:
    shelf = shelf_of(CHANGES)
    inside = {
        site: Expected(
            parcel=shelf.contents[site][0],
            norm=norm_of(change),
            read=shards_in_memory(*shelf.contents[site]),
        )
        for site, change in CHANGES.items()
    }
    found = read_all(Collection(number=7, expected=inside, source=shelf, num_spare=1))
    assert shelf.asked == []
    assert digest_arrays(found["s"]) == digest_arrays(CHANGES["s"])
    lying = {**inside, "s": Expected(parcel=inside["s"].parcel, norm=9e9, read=inside["s"].read)}
    with pytest.raises(Spoilt, match="and it says 9e\\+09"):
        Collection(number=7, expected=lying, source=shelf, num_spare=1)


def test_shards_that_were_let_go_are_never_mistaken_for_others() -> None:
    shelf = shelf_of(CHANGES)
    collection = collection_of(CHANGES, shelf, max_scratch=2 * SHARD_BYTES)
    read_all(collection)
    with pytest.raises(ValueError, match="let go"):
        collection.tensors()["n"].piece(next(pieces_of(SHAPES, max_values=4)))
