"""The folder that an audit leaves: the report, its page, and the hospital's signatures to both; all of it or nothing."""

import json
import shutil
import tempfile
from pathlib import Path

from client.audit.page import render_page
from client.audit.report import FORMAT, KIND, Facts
from client.audit.signature import ReportForged, canonical, check_signed, fingerprint, sign
from federation.files import make_private_folder, sync_folder, write_file
from federation.node_keys import NodeKey

REPORT, PAGE = "audit.json", "audit.html"


class FolderTaken(RuntimeError):
    """There is something already where the audit should go."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already: name another folder with --out")


def check_free(path: Path) -> None:
    """Find out before the work that the folder is taken.

    Raises:
        FolderTaken: something is there.
    """
    if path.exists() or path.is_symlink():
        raise FolderTaken(path)


def write_audit(path: Path, facts: Facts, key: NodeKey) -> None:
    """Write, sign and put in place with one rename; only the owner can read any of it.

    Raises:
        FolderTaken: something is there.
    """
    check_free(path)
    make_private_folder(path.parent)
    signed = facts | {"key": fingerprint(key.public_path)}
    files = {REPORT: canonical(signed), PAGE: render_page(signed).encode()}
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for name, content in files.items():
            write_file(draft / name, content)
            write_file(draft / f"{name}.sig", sign(content, key))
        check_free(path)
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)


def verify_audit(path: Path, public_key: Path) -> Facts:
    """Check report and page against the hospital's public key; the report's facts.

    Raises:
        ReportForged: one of them is missing or not what was signed.
        NodeKeyUnusable: that is no public key of a node.
    """
    content, _ = (check_signed(path / name, public_key) for name in (REPORT, PAGE))
    facts: Facts = json.loads(content)
    if facts.get("kind") != KIND or facts.get("format") != FORMAT:
        raise ReportForged(path / REPORT, "is signed, and is no audit of this release")
    return facts
