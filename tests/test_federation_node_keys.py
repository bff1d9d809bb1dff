"""A hospital's key pair is made once and read back as Flower stores it."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_private_key

from federation.node_keys import (
    NodeKeyUnusable,
    make_node_key,
    publish_public_key,
    read_public_key,
)


def test_the_secret_half_is_for_its_owner_and_the_public_half_names_the_site(
    tmp_path: Path,
) -> None:
    key = make_node_key(tmp_path, "north")
    assert stat.S_IMODE(key.private_path.stat().st_mode) == 0o600
    words = key.public_path.read_text().split()
    assert (words[0], words[2]) == ("ecdsa-sha2-nistp384", "north")


def test_a_second_call_keeps_the_key(tmp_path: Path) -> None:
    first = make_node_key(tmp_path, "north").private_path.read_bytes()
    assert make_node_key(tmp_path, "north").private_path.read_bytes() == first


def test_a_lost_public_half_is_derived_from_the_secret_one(tmp_path: Path) -> None:
    key = make_node_key(tmp_path, "north")
    line = key.public_path.read_bytes()
    key.public_path.unlink()
    assert make_node_key(tmp_path, "north").public_path.read_bytes() == line


def test_the_published_copy_is_the_public_half_of_the_secret_one(tmp_path: Path) -> None:
    key = make_node_key(tmp_path / "state", "north")
    publish_public_key(key, tmp_path / "roster" / "north.pub")
    secret = load_ssh_private_key(key.private_path.read_bytes(), password=None)
    published = load_pem_public_key(read_public_key(tmp_path / "roster" / "north.pub"))
    assert published == secret.public_key()


def test_a_damaged_secret_key_asks_for_a_person_and_is_not_replaced(tmp_path: Path) -> None:
    key = make_node_key(tmp_path, "north")
    key.private_path.write_text("damaged")
    with pytest.raises(NodeKeyUnusable, match="is damaged: restore it"):
        make_node_key(tmp_path, "north")
    assert key.private_path.read_text() == "damaged"


@pytest.mark.parametrize("content", ["", "ssh-rsa AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_what_is_no_node_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "north.pub").write_text(content)
    with pytest.raises(NodeKeyUnusable, match=r"north\.pub"):
        read_public_key(tmp_path / "north.pub")
