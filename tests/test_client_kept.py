"""What a hospital keeps of a study: complete or absent, whenever the process dies."""

import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.kept import Asked, Finished, KeptRounds, write_finished
from client.packing import pack_change
from federation.config import Transport
from federation.encoding import Encoding
from federation.messages import Update
from federation.shipment import open_content
from model.arrays import Arrays, digest_arrays
from model.tensors import Tensors, as_tensors

ASKED = Asked(study="{}", base_digest="", trained=("w",))


def tensors(seed: int) -> Arrays:
    return {"w": np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)}


def keep(
    kept: KeptRounds,
    number: int,
    optimizer_state: Arrays,
    *,
    received: str = "weights",
    change: Arrays | None = None,
    upload: Encoding = "fp32",
    earlier: Tensors | None = None,
) -> Update:
    """A finished round, put on the disk as a hospital does."""
    transport = Transport(upload=upload, shard_values=4)
    with kept.new_round(number) as folder:
        tensors_ = as_tensors(change or tensors(number))
        packed = pack_change(folder, tensors_, transport, earlier=earlier)
        update = Update(
            study_digest="study",
            round_number=number,
            received_digest=received,
            change=packed.parcel,
            norm=packed.norm,
            num_steps=2,
            loss=0.5,
            held_out_loss=math.nan,
            seconds=1.25,
            num_records=3,
            num_files=4,
        )
        write_finished(folder, update, ASKED, optimizer_state)
    return update


def found(kept: KeptRounds, number: int, received: str = "weights") -> Finished:
    finished = kept.find(number, received)
    assert finished is not None
    return finished


@pytest.fixture
def kept(memory_path: Path) -> KeptRounds:
    return KeptRounds(memory_path / "study")


def test_a_kept_update_comes_back_as_it_was(kept: KeptRounds) -> None:
    update = keep(kept, 1, {})
    again = found(KeptRounds(kept.folder), 1)
    assert digest_arrays(again.change) == digest_arrays(tensors(1))
    assert math.isnan(again.update.held_out_loss)
    assert replace(again.update, held_out_loss=0.0) == replace(update, held_out_loss=0.0)
    assert again.asked == ASKED


def test_few_bytes_travel_inside_the_message_and_many_do_not(kept: KeptRounds) -> None:
    keep(kept, 1, {})
    finished = found(kept, 1)
    num_bytes = 4 * 2 * 3
    content = finished.ready(num_bytes).content
    assert content is not None
    assert digest_arrays(open_content(finished.update.change, content)) == digest_arrays(tensors(1))
    assert finished.ready(num_bytes - 1).content is None


def test_an_update_from_other_weights_or_of_another_round_is_not_found(kept: KeptRounds) -> None:
    keep(kept, 1, {})
    assert kept.find(1, "other weights") is None
    assert kept.find(2, "weights") is None


def test_an_update_from_other_weights_takes_the_place_of_the_old_one(kept: KeptRounds) -> None:
    keep(kept, 1, {})
    keep(kept, 1, tensors(9), received="new")
    assert kept.find(1, "weights") is None
    assert kept.find(1, "new") is not None
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round-00001"]


def test_two_rounds_are_kept(kept: KeptRounds) -> None:
    for number in range(1, 6):
        keep(kept, number, {})
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round-00004", "round-00005"]


def test_the_optimizer_goes_on_from_the_last_round_that_was_trained(kept: KeptRounds) -> None:
    for number in (3, 5):
        keep(kept, number, tensors(10 * number))
    assert digest_arrays(kept.optimizer_state(7, first=1)) == digest_arrays(tensors(50))
    assert digest_arrays(kept.optimizer_state(5, first=1)) == digest_arrays({})


def test_the_optimizer_does_not_go_on_from_an_earlier_stage(kept: KeptRounds) -> None:
    keep(kept, 3, tensors(30))
    assert kept.optimizer_state(5, first=4) == {}
    assert kept.optimizer_state(4, first=3) != {}


def test_a_scalar_of_the_optimizer_stays_a_scalar(kept: KeptRounds) -> None:
    keep(kept, 1, {"step|w": np.array(7.0, np.float32)})
    assert kept.optimizer_state(2, first=1)["step|w"].shape == ()


def test_a_change_goes_when_a_later_round_is_asked_for_and_the_rest_stays(
    kept: KeptRounds,
) -> None:
    keep(kept, 3, tensors(30))
    kept.forget_changes_before(3)
    assert kept.find(3, "weights") is not None
    kept.forget_changes_before(4)
    assert kept.find(3, "weights") is None
    assert not list(kept.folder.glob("*/*.shards"))
    assert digest_arrays(kept.optimizer_state(4, first=1)) == digest_arrays(tensors(30))


def test_only_the_hospitals_own_user_can_enter_the_folder(kept: KeptRounds) -> None:
    assert kept.folder.stat().st_mode & 0o077 == 0


MORTAL = """
import itertools, os, shutil, signal, sys
from pathlib import Path

root, folder = sys.argv[1:]
sys.path[:0] = [root, root + "/tests"]
from client.kept import KeptRounds
from test_client_kept import keep, tensors
from tests.faults.mortal import dies_after, mortal

def live_once(number):
    kept = KeptRounds(Path(folder, str(number)))
    keep(kept, 1, tensors(10))
    keep(kept, 2, tensors(20), received="old")
    instant = dies_after(number)
    os.fsync, os.replace = mortal(os.fsync, instant), mortal(os.replace, instant)
    os.unlink, os.rmdir = mortal(os.unlink, instant), mortal(os.rmdir, instant)
    Path.rename = mortal(Path.rename, instant)
    keep(kept, 2, tensors(21), received="new")
    keep(kept, 3, tensors(30))
    os._exit(0)

for number in itertools.count():
    if not os.fork():
        live_once(number)
    if os.wait()[1] != signal.SIGKILL:
        break
"""


@pytest.mark.slow
def test_a_hospital_killed_anywhere_while_it_keeps_an_update_has_the_old_state_or_the_new(
    memory_path: Path,
) -> None:
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", MORTAL, root, str(memory_path)]
    subprocess.run(command, check=True, timeout=120)
    reached = set()
    survivors = list(memory_path.iterdir())
    for folder in survivors:
        kept = KeptRounds(folder)
        third, second = kept.find(3, "weights"), kept.find(2, "new") or kept.find(2, "old")
        assert third is None or digest_arrays(third.change) == digest_arrays(tensors(3))
        assert second is None or digest_arrays(second.change) == digest_arrays(tensors(2))
        states = {digest_arrays(tensors(seed)): seed for seed in (10, 20, 21, 30)}
        reached.add(states[digest_arrays(kept.optimizer_state(4, first=1))])
        keep(kept, 4, {})  # a hospital that was killed takes the next round
        assert not list(folder.glob("round-*.*"))
    assert len(survivors) > 20
    assert reached == {10, 20, 21, 30}


def test_a_second_process_waits_until_the_first_has_finished_the_round(tmp_path: Path) -> None:
    first, second = KeptRounds(tmp_path / "study"), KeptRounds(tmp_path / "study")
    order: list[str] = []

    def answer_again() -> None:
        with second.lock():
            order.append("second")

    with first.lock():
        thread = threading.Thread(target=answer_again)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
