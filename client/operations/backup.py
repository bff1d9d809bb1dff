"""Backup and restore of a hospital: its profile, policy and ledger, its evidence, and on request its keys.

Nothing of a patient is in it: no radiograph, no cache, no table of labels, no list of patients. Approvals are not in it
either: an old backup must not bring back what was taken back since, so a person approves again after a restore. And a
ledger is never put in the place of one that knows more.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from client.config import SiteConfig, load_site
from client.evidence.log import FOLDER as EVIDENCE
from client.privacy_policy import load_policy
from federation.archive import (
    MAX_LOOKS,
    Contents,
    Draft,
    KeepsChanging,
    PlaceTaken,
    draft_in,
    files_below,
    unpacked,
    write_backup,
)
from federation.enrolment import CERTIFICATE_NAME
from federation.files import make_private_folder, sync_folder, write_file
from federation.terminal import shown
from privacy.ledger.chain import read_chain
from privacy.ledger.receipts import receipts_path

SIDE = "hospital"
PROFILE, CA, AUTHORITY, POLICY = "site.yaml", "ca.crt", "authority.pub", "policy.yaml"
KIT = "kit.json"
LEDGER, RECEIPTS, STATE = "ledger", "ledger.receipts", "state"
FOLDERS = ("plans", "control", "statistics")
FILES = ("node.key.pub", CERTIFICATE_NAME)
KEYS = ("node.key", "patient.secret")
NOT_KEPT = frozenset({".approval", ".lock", ".key", ".secret"})


class LedgersPart(ValueError):
    """Two ledgers of one data set that contradict each other."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{shown(path)} and the ledger in the backup have the same beginning and different ends: both were charged. "
            "Nothing was put in place; the data-protection officer decides which of them counts"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What came of a restore."""

    contents: Contents
    site: SiteConfig
    kept_ledger: bool
    """Whether a ledger that knows more was there already, and stayed."""


def backup(profile: Path, target: Path, *, with_keys: bool) -> Contents:
    """Write one file from which this hospital's part in its studies can be had again; its node may be running.

    Args:
        profile: the hospital's profile.
        target: the file; an older one is replaced in one step.
        with_keys: whether its node's secret key is in it. Then the file is as secret as that.

    Raises:
        KeepsChanging: something was noted in the log at every look.
    """
    site = load_site(profile)
    state = make_private_folder(site.state_path)
    secrets = tuple(name for name in KEYS if (state / name).exists())
    with draft_in(state) as draft:
        _add_evidence(draft, state / EVIDENCE)
        for name in FOLDERS:
            draft.add_folder(state / name, f"{STATE}/{name}", wanted=_is_kept)
        for name in FILES + (secrets if with_keys else ()):
            draft.add(state / name, f"{STATE}/{name}")
        for name, path in _single_files(profile, site):
            draft.add(path, name)
        left_out = () if with_keys else secrets
        return write_backup(target, draft, side=SIDE, with_keys=with_keys, left_out=left_out)


def restore(source: Path, profile: Path) -> Restored:
    """Put a backup where the hospital's profile says; the backup's own profile is used if there is none yet.

    Files beside the state folder (certificate, policy) that are there already stay as they are.

    Raises:
        PlaceTaken: the state folder is not empty.
        BackupUnusable: the file is not the whole backup of a hospital.
        LedgersPart: the ledger that is there and the one in the backup contradict each other.
        ConfigError: the profile cannot be used.
    """
    with unpacked(source, SIDE, profile.resolve()) as (contents, folder):
        is_new = not profile.exists()
        if is_new:
            write_file(profile, (folder / PROFILE).read_bytes())
        try:
            return _put(contents, folder, profile)
        except BaseException:
            if is_new:
                profile.unlink()
            raise


def _put(contents: Contents, folder: Path, profile: Path) -> Restored:
    site = load_site(profile)
    _check_empty(site.state_path)
    kit = profile.with_name(KIT)
    for name, path in ((CA, site.ca_path), (AUTHORITY, site.authority_path), (KIT, kit)):
        _put_if_missing(folder / name, path, mode=0o644)
    _put_if_missing(folder / POLICY, site.privacy_path)
    kept_ledger = False
    if site.privacy_path is not None:
        ledger_path = load_policy(site.privacy_path).ledger_path
        kept_ledger = _put_ledger(folder / LEDGER, ledger_path)
        if not kept_ledger:
            _replace(folder / RECEIPTS, receipts_path(ledger_path))
    (folder / STATE).mkdir(exist_ok=True)
    shutil.copytree(folder / STATE, make_private_folder(site.state_path), dirs_exist_ok=True)
    for path in (site.state_path, *site.state_path.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    sync_folder(site.state_path)
    return Restored(contents=contents, site=site, kept_ledger=kept_ledger)


def _add_evidence(draft: Draft, folder: Path) -> None:
    """The log and its receipts as they are between two entries, since each has to name the other."""
    name = f"{STATE}/{EVIDENCE}"
    for _ in range(MAX_LOOKS):
        before = _seen(folder)
        draft.add_folder(folder, name, wanted=_is_kept)
        if _seen(folder) == before:
            return
        draft.clear_folder(name)
    raise KeepsChanging("the hospital's log")


def _seen(folder: Path) -> list[tuple[str, int]]:
    """Every name, and how long the file is: logs grow, and receipts move from draft into place."""
    found = []
    for path in files_below(folder):
        with suppress(FileNotFoundError):
            found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
    return found


def _single_files(profile: Path, site: SiteConfig) -> Iterator[tuple[str, Path]]:
    """Name in the backup, and where it lies now; the ledger last, since it has to hold all that receipts speak of."""
    found: list[tuple[str, Path | None]] = [(PROFILE, profile), (KIT, profile.with_name(KIT))]
    found += [(CA, site.ca_path), (AUTHORITY, site.authority_path)]
    if site.privacy_path is not None:
        ledger_path = load_policy(site.privacy_path).ledger_path
        found += [
            (POLICY, site.privacy_path),
            (RECEIPTS, receipts_path(ledger_path)),
            (LEDGER, ledger_path),
        ]
    for name, path in found:
        if path is not None and path.exists():
            yield name, path


def _check_empty(state: Path) -> None:
    """A folder that holds logs alone, or drafts of this restore, counts as empty.

    Raises:
        PlaceTaken: it holds a hospital's state.
    """
    held = (EVIDENCE, *FOLDERS, *FILES, *KEYS, "studies")
    if any((state / name).exists() for name in held):
        raise PlaceTaken(shown(state))


def _put_if_missing(source: Path, target: Path | None, *, mode: int = 0o600) -> None:
    if target is not None and source.exists() and not target.exists():
        write_file(target, source.read_bytes(), mode=mode)


def _replace(source: Path, target: Path) -> None:
    if source.exists():
        write_file(target, source.read_bytes())


def _put_ledger(source: Path, target: Path) -> bool:
    """Put a ledger in place, unless the one that is there has gone on from it; whether that one stayed."""
    if not source.exists():
        return target.exists()
    saved = read_chain(source)
    if target.exists():
        there = read_chain(target)
        if there.holds(saved.head):
            return True
        if not saved.holds(there.head):
            raise LedgersPart(target)
    _replace(source, target)
    return False


def _is_kept(path: Path) -> bool:
    is_draft = any(part.startswith(".") for part in path.parts)
    return not is_draft and path.suffix not in NOT_KEPT and path.name != "lock"
