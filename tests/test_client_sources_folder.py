"""The scan lists regular files inside the folder, and nothing else."""

import os
from pathlib import Path

import pytest

from client.sources.folder import DataFolderMissing, find_files


def test_regular_files_are_listed_in_order_and_links_are_not_followed(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "deep" / "er").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").touch()
    for name in ("b", "a", "deep/er/c", "Thumbs.db"):
        (data / name).touch()
    (data / "out").symlink_to(outside)
    (data / "circle").symlink_to(data)
    (data / "link").symlink_to(outside / "secret")
    os.mkfifo(data / "pipe")
    found = [str(file.relative_to(data.resolve())) for file in find_files(data)]
    assert found == ["Thumbs.db", "a", "b", "deep/er/c"]


def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    assert len(find_files(tmp_path)) == 1


def test_a_missing_folder_is_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataFolderMissing, match="mounts it or corrects the path"):
        find_files(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderMissing):
        find_files(tmp_path / "file")
