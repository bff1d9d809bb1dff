"""The data folder offers every file in it once, and nothing from anywhere else."""

import gc
import os
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.fileset import FileSet

from client.dicom.rejection import Reason
from client.sources.folder import DataFolderMissing, FolderSource
from client.sources.item import ItemLost, SourceFailed
from simulation.dicom_writer import Machine, Study, build_radiograph, write_radiograph

DX = Machine(
    modality="DX", manufacturer="SYN", institution="SYN", bits=12, photometric="MONOCHROME2"
)


def offered(source: FolderSource) -> list[str]:
    return [item.name for item in source.items() if item.refused is None]


def refused(source: FolderSource) -> dict[str, Reason]:
    return {item.name: item.refused for item in source.items() if item.refused is not None}


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def radiograph(path: Path, number: int) -> Path:
    study = Study(
        patient_id=f"SYN{number}",
        number=1,
        sex="F",
        age=50,
        view="PA",
        taken=datetime(2024, 1, 2, tzinfo=UTC),
    )
    pixels = np.random.default_rng(number).random((24, 20))
    write_radiograph(path, build_radiograph(pixels, DX, study))
    return path


def write_disc(folder: Path, radiographs: list[Path]) -> set[Path]:
    """Write a folder with a DICOMDIR as on a CD; gives the files that the index lists."""
    disc = FileSet()
    for path in radiographs:
        disc.add(path)
    disc.write(folder)
    index = FileSet(folder / "DICOMDIR")
    listed = {Path(instance.path) for instance in index}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # pydicom lets the collector remove folders
        del disc, index
        gc.collect()
    return listed


def test_files_are_offered_in_the_order_of_their_whole_paths(tmp_path: Path) -> None:
    names = ["a-b", "a.b", "a/c", "a0", "b", "deep/er/no-ending", "Thumbs.db", ".DS_Store"]
    source = FolderSource(fill(tmp_path, *reversed(names)))
    assert offered(source) == sorted(names)
    scratch = tmp_path / "unused"
    contents = [source.file_of(item, scratch).read_bytes() for item in source.items()]
    assert contents == [name.encode() for name in sorted(names)]


def test_an_item_changes_its_version_with_its_content_and_knows_what_tables_call_it(
    tmp_path: Path,
) -> None:
    source = FolderSource(fill(tmp_path, "a/1_000.png", "b/1.2.34", "c/1.2.34.DCM", "y"))
    before = list(source.items())
    assert [item.labelled_as for item in before] == ["1_000", "1.2.34", "1.2.34", "y"]
    (tmp_path / "y").write_bytes(b"other content")
    after = list(source.items())
    assert [a.version == b.version for a, b in zip(before, after, strict=True)] == [True] * 3 + [
        False
    ]


def test_a_link_out_of_the_folder_is_counted_and_never_offered(tmp_path: Path) -> None:
    fill(tmp_path / "outside", "secret")
    data = fill(tmp_path / "data", "own")
    (data / "file").symlink_to(tmp_path / "outside" / "secret")
    (data / "folder").symlink_to(tmp_path / "outside")
    (data / "neighbour").symlink_to(fill(tmp_path / "data-2", "x"))
    source = FolderSource(data)
    assert offered(source) == ["own"]
    assert refused(source) == dict.fromkeys(("file", "folder", "neighbour"), Reason.OUTSIDE_LINK)


def test_links_inside_the_folder_make_nothing_count_twice_and_no_walk_endless(
    tmp_path: Path,
) -> None:
    data = fill(tmp_path / "data", "a/one", "b/two")
    (data / "a" / "up").symlink_to(data)
    (data / "a" / "across").symlink_to("../b")
    (data / "b" / "again").symlink_to("../a/one")
    (data / "c").hardlink_to(data / "b" / "two")
    (data / "self").symlink_to("self")
    (data / "gone").symlink_to("nowhere")
    source = FolderSource(data)
    assert offered(source) == ["a/one", "b/two"]
    assert refused(source) == {"gone": Reason.UNREADABLE, "self": Reason.UNREADABLE}


def test_a_data_folder_that_is_itself_a_link_is_entered(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(fill(tmp_path / "data", "x"))
    source = FolderSource(tmp_path / "link")
    (item,) = source.items()
    assert source.file_of(item, tmp_path) == (tmp_path / "data" / "x").resolve()


def test_a_folder_that_becomes_a_link_before_it_is_read_leads_nowhere(tmp_path: Path) -> None:
    source = FolderSource(fill(tmp_path / "data", "a/x"))
    (item,) = source.items()
    (tmp_path / "data" / "a").rename(tmp_path / "outside")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(ItemLost, match="replaced by a link"):
        source.file_of(item, tmp_path)


def test_pipes_and_sockets_are_never_offered(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "DICOMDIR")
    assert list(FolderSource(tmp_path).items()) == []


def test_a_folder_that_cannot_be_listed_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "closed/x", "open/y")
    scan = os.scandir

    def forbidding(path: str | Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    source = FolderSource(tmp_path)
    assert (offered(source), refused(source)) == (["open/y"], {"closed": Reason.UNREADABLE})


def test_files_and_folders_that_are_no_data_are_left_out(tmp_path: Path) -> None:
    data = fill(tmp_path, "labels.csv", "state/cache/rows.npy", "x")
    (tmp_path / "labels-link").symlink_to("labels.csv")
    source = FolderSource(data, leave_out=[tmp_path / "labels-link", tmp_path / "state"])
    assert offered(source) == ["x"]


def test_folders_nested_deeper_than_functions_can_call_are_walked(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*("d" * 600))
    deepest.mkdir(parents=True)
    (deepest / "x").touch()
    assert len(offered(FolderSource(tmp_path))) == 1


def test_a_name_that_is_no_text_is_offered(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    source = FolderSource(tmp_path)
    (item,) = source.items()
    assert source.file_of(item, tmp_path).exists()


def test_the_files_of_a_dicomdir_are_offered_under_whatever_names_and_the_index_is_not(
    tmp_path: Path,
) -> None:
    listed = write_disc(tmp_path / "disc", [radiograph(tmp_path / f"{n}.dcm", n) for n in range(3)])
    assert all(path.suffix == "" for path in listed)
    lower_case = tmp_path / "disc" / "copy"
    lower_case.mkdir()
    (lower_case / "dicomdir").write_bytes((tmp_path / "disc" / "DICOMDIR").read_bytes())
    source = FolderSource(tmp_path / "disc")
    assert {source.file_of(item, tmp_path) for item in source.items()} == listed
    assert refused(source) == {}


def test_a_radiograph_that_is_called_dicomdir_is_offered(tmp_path: Path) -> None:
    radiograph(tmp_path / "DICOMDIR", 1)
    assert offered(FolderSource(tmp_path)) == ["DICOMDIR"]


def test_a_missing_folder_is_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataFolderMissing, match="mounts it or corrects the path"):
        FolderSource(tmp_path / "nowhere").items()
    (tmp_path / "file").touch()
    with pytest.raises(SourceFailed):
        FolderSource(tmp_path / "file").items()
