"""A hospital's process that fetches or leaves 256 MB, and tells how much memory that took: ``FOLDER PORT fetch|leave``."""

import hashlib
import json
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from client.transfer.fetch import fetch_shards
from client.transfer.leave import leave_shards
from federation.messages import Ticket
from federation.parcel import Parcel, shards_in_file
from tests.faults.blob_server import TOKEN, hospital

NUM_SHARDS = 16
SHARD = bytes(range(256)) * 2**16
"""16 MiB."""


def parcel() -> Parcel:
    """The same shard, again and again."""
    return Parcel(
        shapes={"w": (NUM_SHARDS * len(SHARD) // 4,)},
        encoding="fp32",
        digests=(hashlib.sha256(SHARD).hexdigest(),) * NUM_SHARDS,
    )


def main(folder: Path, port: int, verb: str) -> None:
    """Do it, and say on standard output by how many bytes the process grew."""
    described, site, path = parcel(), hospital(folder, port), folder / "received"
    links = tuple(f"/blobs/space/{number}" for number in range(NUM_SHARDS))
    ticket = Ticket(links=links, token=TOKEN, expires=int(time.time()) + 120)
    process = psutil.Process()
    before = process.memory_info().rss
    if verb == "fetch":
        fetch_shards(site, ticket, described, path, start=0)
    else:
        leave_shards(site, ticket, described, shards_in_file(described, path), range(NUM_SHARDS))
    peak = max(process.memory_info().rss, _peak_bytes())
    sys.stdout.write(json.dumps({"grew": peak - before}))


def _peak_bytes() -> int:
    """The most memory this process ever had in use."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
