"""The round loop where changes come shard after shard: what is wrong may come with the last one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from federation.config import StudyConfig, Transport
from federation.messages import Instruction, Update
from federation.parcel import Parcel, ReadShard, pack_inline, shards_in_memory
from federation.stages import OuterStep
from model.tensors import InMemory
from server.collection import Came, Words
from server.rounds import run_study
from server.sites import Answered, Event
from server.store import StudyStore
from simulation.in_process import Ask, InProcess
from tests.toys.hospitals import (
    FULL,
    change_of,
    honest,
    hospitals,
    norm_of,
    rogue,
    start,
    with_change,
)

StudyOf = Callable[..., StudyConfig]


class Beside(InProcess):
    """Hospitals that send their changes shard after shard, once they are sent for."""

    def __init__(self, ask: Ask, *, shard_values: int) -> None:
        self._shard_values = shard_values
        self._contents: dict[str, bytes] = {}
        super().__init__(lambda instruction: map(self._kept, ask(instruction)))

    def fetch(
        self, wanted: Mapping[str, Parcel], shards: Sequence[int], *, number: int, num_spare: int
    ) -> Words:
        """All of a shard, then all of the next one."""
        del number, num_spare
        for shard in shards:
            yield from ((site, Came(shards=(shard,))) for site in sorted(wanted))

    def bring(self, site: str, parcel: Parcel, shards: Sequence[int], *, number: int) -> ReadShard:
        """Out of memory."""
        del shards, number
        return shards_in_memory(parcel, self._contents[site])

    def _kept(self, event: Event) -> Event:
        if not (isinstance(event, Answered) and isinstance(event.answer, Update)):
            return event
        change = InMemory(dict(change_of(event.answer)))
        parcel, content = pack_inline(change, "fp32", shard_values=self._shard_values)
        self._contents[event.site] = content
        return replace(event, answer=replace(event.answer, change=parcel, content=None))


def test_a_hospital_that_is_at_fault_is_left_out_before_a_study_is_given_up(
    study_of: StudyOf, memory_path: Path
) -> None:
    def explode(instruction: Instruction, site: str) -> Update:
        update = honest(instruction, site)
        change = {name: part.copy() for name, part in change_of(update).items()}
        change["v"][:] = 3e38  # in the first shard; what is wrong comes with the last
        norm = norm_of(change)
        change["w"][1, 2] = np.nan
        return replace(with_change(update, change), norm=norm)

    plain = study_of(
        replace(FULL, num_rounds=1, outer=OuterStep(learning_rate=4.0)), num_sites=2, min_sites=1
    )
    study = replace(plain, transport=Transport(shard_values=4))
    store = StudyStore.create(memory_path, study)
    sites = Beside(hospitals(("a", "bad"), rogue("bad", explode)), shard_values=4)
    run_study(store, sites, start)
    assert [(part.site, part.state, part.code) for part in store.parts()] == [
        ("a", "admitted", ""),
        ("bad", "refused", "not-finite"),
    ]
