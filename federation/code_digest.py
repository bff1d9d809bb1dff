"""The digest of the program that runs at a hospital: every file of it, as installed here.

Whoever installed the same release has the same digest. A file that was changed, added or taken away gives another.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOSPITAL_CODE = ("cli.py", "client", "configs/labels", "federation", "model", "privacy")
"""Files and folders of the distribution that a round at a hospital runs or reads."""
LEFT_OUT = "__pycache__"
"""What the interpreter makes of the files by itself."""


@cache
def installed_code() -> str:
    """The digest of the program that this process began with."""
    return code_digest(ROOT)


def code_digest(root: Path) -> str:
    """SHA-256 over the names and contents of all files, in order of name, in hex.

    Args:
        root: Folder that the packages are installed in.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(root), key=lambda each: each.relative_to(root).as_posix()):
        name, content = path.relative_to(root).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %d\n" % (len(name), len(content)))
        digest.update(name)
        digest.update(content)
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for name in HOSPITAL_CODE:
        start = root / name
        for path in [start] if start.is_file() else start.rglob("*"):
            if path.is_file() and LEFT_OUT not in path.parts:
                yield path
