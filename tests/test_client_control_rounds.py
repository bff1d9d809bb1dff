"""A hospital that is paused or withdraws stops in the middle of a round, and one with limits keeps to them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from client.config import SiteConfig, StatisticsPolicy
from client.control.gate import gate_of_line
from client.control.limits import Limits
from client.control.orders import Orders, change_orders, order
from client.control.withdraw import NoSuchStudy, find_study, rejoin, withdraw
from client.delivery import deliver
from client.kept import KeptRounds, study_folder
from client.rounds import answer
from client.statistics import answer_counts
from federation.config import StudyConfig, study_digest, study_json
from federation.messages import (
    CountsRequest,
    DeliveryRequest,
    Instruction,
    Refusal,
    RefusalCode,
    Ticket,
    Update,
)
from federation.shipment import inline_shipment
from federation.stages import FullStage, LocalTraining
from model.arrays import Arrays
from model.conditioning import FINDINGS

StudyOf = Callable[..., StudyConfig]
MakeHospital = Callable[..., SiteConfig]
LOCAL = LocalTraining(local_steps=4, batch_size=2, learning_rate=1e-3)
FULL = FullStage(kind="full", num_rounds=2, local=LOCAL)


@pytest.fixture
def site(make_hospital: MakeHospital, memory_path: Path) -> SiteConfig:
    return make_hospital(memory_path)


@pytest.fixture
def study(study_of: StudyOf) -> StudyConfig:
    return study_of(FULL, num_sites=1, min_sites=1)


@pytest.fixture
def instruction(study: StudyConfig, random_weights: Arrays) -> Instruction:
    return Instruction(
        study=study_json(study), round_number=1, weights=inline_shipment(random_weights)
    )


def refused(given: object) -> RefusalCode:
    assert isinstance(given, Refusal)
    return given.code


def pause(site: SiteConfig) -> None:
    change_orders(site.state_path, lambda before: replace(before, paused=order("ann")))


def resume(site: SiteConfig) -> None:
    change_orders(site.state_path, lambda _: Orders())


@contextmanager
def at_step(number: int, action: Callable[[], None]) -> Iterator[list[int]]:
    """Do something when training has made so many steps; counts all of them."""
    made = list[int]()

    def count(*_: object) -> None:
        made.append(1)
        if len(made) == number:
            action()

    handle = register_optimizer_step_post_hook(count)
    try:
        yield made
    finally:
        handle.remove()


def request(update: Update, study: StudyConfig) -> DeliveryRequest:
    return DeliveryRequest(
        study_digest=study_digest(study),
        round_number=1,
        parcel_digest=update.change.digest,
        shards=(0,),
        ticket=Ticket(links=("/blobs/a/0",), token="t", expires=2**40),  # noqa: S106  opens nothing
    )


def test_a_pause_ends_a_round_at_its_next_step_and_nothing_of_it_is_kept(
    site: SiteConfig, instruction: Instruction
) -> None:
    with at_step(2, lambda: pause(site)) as made:
        assert refused(answer(site, instruction)) is RefusalCode.PAUSED
    assert len(made) == 2
    assert not list(study_folder(site, instruction.study_digest).glob("round-*"))


def test_a_pause_after_the_last_step_keeps_the_finished_update_here(
    site: SiteConfig, instruction: Instruction
) -> None:
    with at_step(LOCAL.local_steps, lambda: pause(site)) as made:
        assert refused(answer(site, instruction)) is RefusalCode.PAUSED
        resume(site)
        assert isinstance(answer(site, instruction), Update)
    assert len(made) == LOCAL.local_steps


def test_after_a_pause_the_round_is_what_it_would_have_been(
    site: SiteConfig, instruction: Instruction, make_hospital: MakeHospital, tmp_path: Path
) -> None:
    with at_step(3, lambda: pause(site)):
        answer(site, instruction)
    resume(site)
    after = answer(site, instruction)
    never_paused = answer(make_hospital(tmp_path), instruction)
    assert isinstance(after, Update)
    assert isinstance(never_paused, Update)
    assert after.content == never_paused.content


def test_an_update_that_is_finished_stays_here_while_paused_and_leaves_unchanged_afterwards(
    site: SiteConfig, instruction: Instruction, study: StudyConfig
) -> None:
    finished = answer(site, instruction)
    assert isinstance(finished, Update)
    pause(site)
    assert refused(answer(site, instruction)) is RefusalCode.PAUSED
    assert refused(deliver(site, request(finished, study))) is RefusalCode.PAUSED
    resume(site)
    again = answer(site, instruction)
    assert isinstance(again, Update)
    assert again.content == finished.content


def test_a_paused_hospital_counts_nobody(site: SiteConfig) -> None:
    site = replace(site, statistics=StatisticsPolicy(share=True, min_cell=1))
    pause(site)
    assert refused(answer_counts(site, CountsRequest(findings=FINDINGS))) is RefusalCode.PAUSED


def test_in_quiet_hours_no_round_begins(site: SiteConfig, instruction: Instruction) -> None:
    quiet = replace(site, limits=Limits(quiet_hours=("mon-sun 00:00-24:00",)))
    with at_step(1, lambda: None) as made:
        assert refused(answer(quiet, instruction)) is RefusalCode.PAUSED
    assert not made


def test_withdrawing_deletes_what_was_ready_and_answers_so_until_the_hospital_rejoins(
    site: SiteConfig, instruction: Instruction, study: StudyConfig
) -> None:
    finished, line = answer(site, instruction), gate_of_line(site)
    assert isinstance(finished, Update)
    done = withdraw(site, study_digest(study)[:16], "ann")
    kept = KeptRounds(study_folder(site, study_digest(study)))
    assert line.closed() is not None  # it cannot know whose bytes it carries
    assert gate_of_line(site).closed() is None
    assert done.num_bytes > finished.change.num_bytes
    assert {path.name for path in kept.folder.iterdir()} == {"lock", "delivery.lock"}
    assert refused(answer(site, instruction)) is RefusalCode.WITHDRAWN
    assert refused(deliver(site, request(finished, study))) is RefusalCode.WITHDRAWN
    rejoin(site)
    assert isinstance(answer(site, instruction), Update)


def test_withdrawing_ends_the_round_under_way(site: SiteConfig, instruction: Instruction) -> None:
    def leave() -> None:
        change_orders(
            site.state_path,
            lambda before: replace(before, withdrawn={instruction.study_digest: order("ann")}),
        )

    with at_step(1, leave) as made:
        assert refused(answer(site, instruction)) is RefusalCode.WITHDRAWN
    assert len(made) == 1


def test_words_that_name_no_study_withdraw_from_none(
    site: SiteConfig, instruction: Instruction
) -> None:
    answer(site, instruction)
    assert find_study(site.state_path, instruction.study_digest[:12]) == instruction.study_digest
    for words in ("", "toys", "0123456789abcdef"):
        with pytest.raises(NoSuchStudy, match=instruction.study_digest[:12]):
            withdraw(site, words, "ann")
    assert isinstance(answer(site, instruction), Update)


def test_a_round_that_would_not_fit_the_disk_that_the_hospital_gives_is_not_begun(
    site: SiteConfig, instruction: Instruction
) -> None:
    tight = replace(site, limits=Limits(disk_bytes=instruction.weights.parcel.num_bytes * 4))
    with at_step(1, lambda: None) as made:
        found = answer(tight, instruction)
    assert refused(found) is RefusalCode.DISK
    assert isinstance(found, Refusal)
    assert "limits.disk_bytes" in found.reason
    assert not made
    wide = replace(site, limits=Limits(disk_bytes=instruction.weights.parcel.num_bytes * 20))
    assert isinstance(answer(wide, instruction), Update)


def test_on_a_line_with_a_limit_a_large_change_does_not_travel_inside_the_answer(
    site: SiteConfig, instruction: Instruction
) -> None:
    limited = replace(site, limits=Limits(upload_bytes_per_second=50_000))
    update = answer(limited, instruction)
    assert isinstance(update, Update)
    assert update.change.num_bytes > 50_000
    assert update.content is None


def test_gpus_are_used_to_the_part_that_the_hospital_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    from client.device import share_gpus

    told = list[tuple[float, int]]()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda part, number: told.append((part, number)),
    )
    share_gpus()
    assert told == []
    monkeypatch.setenv("FEDCXR_GPU_MEMORY", "0.5")
    share_gpus()
    assert told == [(0.5, 0), (0.5, 1)]
