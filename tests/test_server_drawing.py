"""First weights drawn by a child of the coordinator."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.config import StudyConfig, study_json
from federation.stages import FullStage, LocalTraining, LoraStage
from model.arrays import Arrays
from model.tensors import as_tensors
from server.drawing import start_apart
from server.room import NoRoom
from server.start import starting_weights

StudyOf = Callable[..., StudyConfig]
LOCAL = LocalTraining(local_steps=1, batch_size=1, learning_rate=1.0)
FULL = FullStage(kind="full", num_rounds=1, local=LOCAL)
LORA = LoraStage(kind="lora", num_rounds=1, local=LOCAL, rank=2, alpha=2.0)
WITHOUT_TORCH = """
import sys
from pathlib import Path
from federation.config import parse_study
from server.drawing import start_apart
start_apart(parse_study(sys.stdin.read()), int(sys.argv[1]), None, Path(sys.argv[2]))
sys.exit("torch" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1])
def test_a_child_draws_the_same_bits_and_keeps_torch_to_itself(
    study_of: StudyOf, tmp_path: Path, stage: int
) -> None:
    study = study_of(FULL, LORA)
    starting_weights(study, stage, None, tmp_path / "here")
    words = [sys.executable, "-c", WITHOUT_TORCH, str(stage), str(tmp_path / "there")]
    subprocess.run(words, input=study_json(study), text=True, check=True)
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_nothing_is_drawn_where_there_are_weights(
    study_of: StudyOf, tmp_path: Path, random_weights: Arrays
) -> None:
    before = as_tensors(random_weights)
    assert start_apart(study_of(FULL, FULL), 1, before, tmp_path / "new") is before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_child_that_has_no_room_says_how_much_it_needs(study_of: StudyOf) -> None:
    nowhere = Path("/proc/self/new")  # a file system without room
    with pytest.raises(NoRoom) as caught:
        start_apart(study_of(FULL), 0, None, nowhere)
    assert caught.value.needed_bytes > 4 * 500_000
