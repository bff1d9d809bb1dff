"""Kills what a supervisor leaves behind when it dies without a word.

Runs as its own small process. It reads the numbers of process groups from its standard input, ``+123`` for a
new one and ``-123`` for one that ended, and learns from the end of the input that the supervisor is gone.
"""

import os
import signal
import sys
from collections.abc import Iterable


def remaining_groups(lines: Iterable[str]) -> set[int]:
    """Process groups that were announced and never taken back."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    return groups


def main() -> None:
    """Wait for the end of the input, then end every group that remains."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in remaining_groups(sys.stdin):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    main()
