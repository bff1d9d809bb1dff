"""Who is in the folder takes part, under the name of the file; nobody else does."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from federation.node_keys import make_node_key, publish_public_key, read_public_key
from server.control import UNREGISTERED, Control, ControlRefused, RegisteredNode
from server.roster import Roster
from server.roster_keys import read_roster


@dataclass
class Superlink:
    """The part of the SuperLink that the roster talks to, in memory."""

    known: list[RegisteredNode] = field(default_factory=list)
    num_questions: int = 0
    down: bool = False

    def nodes(self) -> list[RegisteredNode]:
        """Every node ever registered."""
        self.num_questions += 1
        if self.down:
            raise ControlRefused("down")
        return list(self.known)

    def register(self, name: str, public_key: bytes) -> int:
        """Refuse a key that was ever seen, as Flower does."""
        assert public_key not in {node.public_key for node in self.known}
        node_id = len(self.known) + 1
        self.known.append(
            RegisteredNode(node_id=node_id, name=name, public_key=public_key, status="registered")
        )
        return node_id

    def unregister(self, node_id: int) -> None:
        """Keep the key on the list, as Flower does."""
        self.known = [
            replace(node, status=UNREGISTERED) if node.node_id == node_id else node
            for node in self.known
        ]

    @property
    def active(self) -> set[str]:
        """Names that may take part."""
        return {node.name for node in self.known if node.status != UNREGISTERED}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("north", "south"):
        add(tmp_path, name)
    return tmp_path / "roster"


def add(tmp_path: Path, name: str, file: str = "") -> None:
    key = make_node_key(tmp_path / name, name)
    publish_public_key(key, tmp_path / "roster" / (file or f"{name}.pub"))


def synced(superlink: Superlink, folder: Path, *, roster: Roster | None = None) -> Roster:
    roster = roster or Roster(folder=folder)
    roster.sync(cast("Control", superlink))
    return roster


def test_every_key_is_admitted_under_the_name_of_its_file(folder: Path) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    keys = {node.name: node.public_key for node in superlink.known}
    assert keys == {name: read_public_key(folder / f"{name}.pub") for name in ("north", "south")}


def test_folders_below_count_too(folder: Path) -> None:
    (folder / "joined").mkdir()
    (folder / "north.pub").rename(folder / "joined" / "north.pub")
    assert set(read_roster(folder).keys) == {"north", "south"}


def test_flower_is_asked_only_when_the_folder_changed(folder: Path, tmp_path: Path) -> None:
    superlink = Superlink()
    roster = synced(superlink, folder)
    synced(superlink, folder, roster=roster)
    assert superlink.num_questions == 1
    add(tmp_path, "west")
    synced(superlink, folder, roster=roster)
    assert superlink.active == {"north", "south", "west"}


def test_a_superlink_that_is_down_is_asked_again(folder: Path) -> None:
    superlink = Superlink(down=True)
    roster = Roster(folder=folder)
    with pytest.raises(ControlRefused):
        synced(superlink, folder, roster=roster)
    superlink.down = False
    synced(superlink, folder, roster=roster)
    assert superlink.active == {"north", "south"}


def test_who_is_registered_already_is_left_alone(folder: Path) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    before = list(superlink.known)
    synced(superlink, folder)
    assert superlink.known == before


def test_a_removed_file_ends_the_hospitals_part(folder: Path) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    (folder / "north.pub").unlink()
    synced(superlink, folder)
    assert superlink.active == {"south"}


def test_a_removed_key_cannot_come_back_and_a_person_is_told(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    (folder / "north.pub").unlink()
    synced(superlink, folder)
    add(tmp_path, "north")
    synced(superlink, folder)
    assert superlink.active == {"south"}
    assert "north: this key was in use before" in caplog.text


def test_a_new_key_under_an_old_name_replaces_the_old_one(folder: Path, tmp_path: Path) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    publish_public_key(make_node_key(tmp_path / "new", "north"), folder / "north.pub")
    synced(superlink, folder)
    active = [node for node in superlink.known if node.status != UNREGISTERED]
    keys = {node.name: node.public_key for node in active}
    assert keys["north"] == read_public_key(folder / "north.pub")
    assert len(active) == 2


def test_an_empty_folder_removes_nobody(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    for path in folder.glob("*.pub"):
        path.unlink()
    synced(superlink, folder)
    assert superlink.active == {"north", "south"}
    assert "nobody was removed" in caplog.text


def test_a_damaged_file_is_named_and_costs_nobody_their_place(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    superlink = Superlink()
    roster = synced(superlink, folder)
    (folder / "north.pub").write_text("damaged")
    (folder / "west.pub").write_text("damaged")
    synced(superlink, folder, roster=roster)
    assert superlink.active == {"north", "south"}
    assert "north: not a public key" in caplog.text
    assert "west: not a public key" in caplog.text
    assert str(folder) not in caplog.text


def test_two_files_with_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    add(tmp_path, "west", "west.pub")
    add(tmp_path, "east", "below/west.pub")
    listing = read_roster(folder)
    assert set(listing.keys) == {"north", "south"}
    assert listing.problems == ("west: 2 files have this name; remove all but one",)


def test_one_key_under_two_names_is_refused_without_hurting_its_owner(
    folder: Path, tmp_path: Path
) -> None:
    superlink = Superlink()
    synced(superlink, folder)
    add(tmp_path, "north", "impostor.pub")
    synced(superlink, folder)
    assert superlink.active == {"north", "south"}


@pytest.mark.parametrize("name", ["North", "a b", "-a", "a" * 41])
def test_a_name_that_is_no_site_name_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    add(tmp_path, "west", f"{name}.pub")
    assert set(read_roster(folder).keys) == {"north", "south"}
