"""torchrun that ends with the process that asked for it: ``python -m client.parallel.start PID ARGUMENTS``.

Killed or crashed, a hospital's training leaves no process behind: this one dies with its parent, and the
processes it started die with it.
"""

import os
import sys

from torch.distributed.run import main as torchrun

from federation.processes import die_with_parent


def main() -> None:
    """Run torchrun unless the parent is gone already."""
    parent, *arguments = sys.argv[1:]
    die_with_parent()
    if os.getppid() == int(parent):
        torchrun(arguments)


if __name__ == "__main__":
    main()
