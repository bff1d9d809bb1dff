"""First weights drawn by a child, so that the coordinator never loads torch, which alone takes more than a round does."""

import argparse
import subprocess
import sys
from pathlib import Path

from federation.config import StudyConfig, parse_study, study_json
from federation.processes import die_with_parent
from federation.stages import FullStage
from model.tensor_file import TensorFile
from model.tensors import Tensors
from server.room import NoRoom
from server.start import starting_weights

NO_ROOM_CODE = 74
"""Exit code of a child that had too little room; it prints how many bytes it needs."""


def start_apart(
    study: StudyConfig, stage_index: int, before: Tensors | None, path: Path
) -> Tensors:
    """The same as `starting_weights`, with whatever has to be drawn drawn by a child.

    Raises:
        NoRoom: what is drawn does not fit on the disk; nothing was left behind.
    """
    if isinstance(study.stages[stage_index], FullStage) and before is not None:
        return before
    ended = subprocess.run(
        [sys.executable, "-m", "server.drawing", str(stage_index), str(path)],
        input=study_json(study),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode == NO_ROOM_CODE:
        raise NoRoom(path.parent, needed_bytes=int(ended.stdout))
    ended.check_returncode()
    return TensorFile(path)


def main() -> int:
    """Draw what the words ask for; the study comes in by standard input."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage_index", type=int)
    parser.add_argument("path", type=Path)
    words = parser.parse_args()
    try:
        starting_weights(parse_study(sys.stdin.read()), words.stage_index, None, words.path)
    except NoRoom as err:
        sys.stdout.write(f"{err.needed_bytes}\n")
        return NO_ROOM_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
