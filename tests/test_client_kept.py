"""What a hospital keeps of a study: complete or absent, whenever the process dies."""

import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.kept import KeptRounds
from federation.messages import Update
from model.arrays import Arrays, digest_arrays, load_arrays


def tensors(seed: int) -> Arrays:
    return {"w": np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)}


def update_of(number: int, *, received: str = "weights") -> Update:
    return Update(
        study_digest="study",
        round_number=number,
        received_digest=received,
        change=tensors(number),
        num_steps=2,
        loss=0.5,
        held_out_loss=math.nan,
        seconds=1.25,
        num_records=3,
        num_files=4,
    )


@pytest.fixture
def kept(memory_path: Path) -> KeptRounds:
    return KeptRounds(memory_path / "study")


def test_a_kept_update_comes_back_as_it_was(kept: KeptRounds) -> None:
    kept.keep(update_of(1), {})
    found = KeptRounds(kept.folder).find(1, "weights")
    assert found is not None
    assert digest_arrays(found.change) == digest_arrays(tensors(1))
    assert math.isnan(found.held_out_loss)
    same = {"change": {}, "held_out_loss": 0.0}
    assert replace(found, **same) == replace(update_of(1), **same)  # type: ignore[arg-type]


def test_an_update_from_other_weights_or_of_another_round_is_not_found(kept: KeptRounds) -> None:
    kept.keep(update_of(1), {})
    assert kept.find(1, "other weights") is None
    assert kept.find(2, "weights") is None


def test_an_update_from_other_weights_takes_the_place_of_the_old_one(kept: KeptRounds) -> None:
    kept.keep(update_of(1), {})
    kept.keep(update_of(1, received="new"), tensors(9))
    assert kept.find(1, "weights") is None
    assert kept.find(1, "new") is not None
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round-00001"]


def test_two_rounds_are_kept(kept: KeptRounds) -> None:
    for number in range(1, 6):
        kept.keep(update_of(number), {})
    assert sorted(path.name for path in kept.folder.iterdir()) == ["round-00004", "round-00005"]


def test_the_optimizer_goes_on_from_the_last_round_that_was_trained(kept: KeptRounds) -> None:
    for number in (3, 5):
        kept.keep(update_of(number), tensors(10 * number))
    assert digest_arrays(kept.optimizer_state(7, first=1)) == digest_arrays(tensors(50))
    assert digest_arrays(kept.optimizer_state(5, first=1)) == digest_arrays({})


def test_the_optimizer_does_not_go_on_from_an_earlier_stage(kept: KeptRounds) -> None:
    kept.keep(update_of(3), tensors(30))
    assert kept.optimizer_state(5, first=4) == {}
    assert kept.optimizer_state(4, first=3) != {}


def test_a_scalar_of_the_optimizer_stays_a_scalar(kept: KeptRounds) -> None:
    kept.keep(update_of(1), {"step|w": np.array(7.0, np.float32)})
    assert kept.optimizer_state(2, first=1)["step|w"].shape == ()


def test_a_frozen_model_is_found_under_its_digest_alone(kept: KeptRounds) -> None:
    kept.keep_base("abc", tensors(1))
    found = load_arrays(kept.base_path("abc"))
    assert digest_arrays(found) == digest_arrays(tensors(1))
    assert not kept.base_path("abd").exists()


def test_only_the_hospitals_own_user_can_enter_the_folder(kept: KeptRounds) -> None:
    assert kept.folder.stat().st_mode & 0o077 == 0


MORTAL = """
import itertools, os, shutil, signal, sys
from pathlib import Path

root, folder = sys.argv[1:]
sys.path[:0] = [root, root + "/tests"]
from client.kept import KeptRounds
from test_client_kept import tensors, update_of

def mortal(function, lives):
    def call(*args, **kwargs):
        if next(lives) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

def live_once(number):
    kept = KeptRounds(Path(folder, str(number)))
    kept.keep(update_of(1), tensors(10))
    kept.keep(update_of(2, received="old"), tensors(20))
    lives = itertools.count(number, -1)
    os.fsync, os.replace = mortal(os.fsync, lives), mortal(os.replace, lives)
    os.unlink, os.rmdir = mortal(os.unlink, lives), mortal(os.rmdir, lives)
    Path.rename = mortal(Path.rename, lives)
    kept.keep(update_of(2, received="new"), tensors(21))
    kept.keep(update_of(3), tensors(30))
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
        kept.keep(update_of(4), {})  # a hospital that was killed takes the next round
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
