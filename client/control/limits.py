"""How much of its machine, its line and its disk a hospital gives, and when: the profile's ``limits``.

While a hospital runs, one file in its state folder holds the limits in force, so all its processes keep to the same.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from client.control.orders import control_folder
from client.control.quiet_hours import QuietHours, parse_quiet_hours
from federation.field_types import Positive, Whole
from federation.files import write_file

FILE = "limits.json"

MIN_BYTES_PER_SECOND = 20_000
"""Slower, and a coordinator takes the line for a broken one."""

GPU_MEMORY_VARIABLE = "FEDCXR_GPU_MEMORY"
"""Tells everything that trains which part of each GPU's memory it may use; unset for all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the federation may take of this hospital at most."""

    quiet_hours: tuple[str, ...] = ()
    """When the hospital takes no part, by the machine's time zone: ``mon-fri 07:00-19:00``. A round that is not done
    when they begin is given up, and asked for again after them."""
    niceness: Whole = 0
    """How far training steps back behind everything else on the machine, 0 to 19."""
    gpus: tuple[int, ...] | None = None
    """Numbers of the GPUs that may be used, as nvidia-smi counts them; empty for none, None for all."""
    gpu_memory: float = 1.0
    """The part of each GPU's memory that may be used, above 0 up to 1."""
    upload_bytes_per_second: Positive | None = None
    """What may leave in a second, on average; None: as much as the line carries."""
    download_bytes_per_second: Positive | None = None
    """What may come in a second, on average."""
    disk_bytes: Positive | None = None
    """What ``state_path`` may hold, the cache among it; None: as much as the disk takes."""

    def __post_init__(self) -> None:
        _ = self.quiet
        if self.niceness > 19:
            raise ValueError("niceness goes from 0 to 19")
        if not 0 < self.gpu_memory <= 1:
            raise ValueError("gpu_memory is a part, above 0 up to 1")
        if self.gpus is not None and any(number < 0 for number in self.gpus):
            raise ValueError("gpus are numbers from 0, as nvidia-smi shows them")
        for speed in (self.upload_bytes_per_second, self.download_bytes_per_second):
            if speed is not None and speed < MIN_BYTES_PER_SECOND:
                raise ValueError(
                    f"a line of less than {MIN_BYTES_PER_SECOND} bytes a second carries no model: give it more"
                )

    @property
    def quiet(self) -> tuple[QuietHours, ...]:
        """The quiet hours, read.

        Raises:
            ValueError: one of them is written in another way.
        """
        return tuple(map(parse_quiet_hours, self.quiet_hours))


CLOSED = Limits(quiet_hours=("mon-sun 00:00-24:00",))
"""Nothing leaves while nobody can tell what may."""


def put_into_force(state_path: Path, limits: Limits | None) -> None:
    """Have everything that runs for a hospital keep to these limits from now on; None: it runs no more."""
    path = control_folder(state_path) / FILE
    if limits is None:
        path.unlink(missing_ok=True)
    else:
        write_file(path, json.dumps(asdict(limits)).encode())


def limits_in_force(state_path: Path) -> Limits | None:
    """What a hospital keeps to now; None while it does not run."""
    try:
        return Limits(**json.loads((control_folder(state_path) / FILE).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return CLOSED


def keep_to(limits: Limits) -> None:
    """Have this process, and all that it starts, take no more of the machine; before it has looked for a GPU."""
    os.nice(limits.niceness)
    if limits.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, limits.gpus))
    if limits.gpu_memory < 1:
        os.environ[GPU_MEMORY_VARIABLE] = str(limits.gpu_memory)
