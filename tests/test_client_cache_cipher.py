"""The cache's key: where it comes from, what is no key, and what a seal refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cache.cipher import KEY_VARIABLE, CacheKeyUnusable, Cipher, key_mark, load_key, seal_of
from client.cache.seal import Checksum, Seal, SealBroken, unsealed

KEY = bytes(range(32))
SEALS = [Checksum(), Cipher(KEY)]


def key_file(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "cache.key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture(autouse=True)
def _no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_the_key_is_in_a_file_or_in_the_environment_which_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = key_file(tmp_path, KEY.hex() + "\n")
    assert load_key(None) is None
    assert load_key(path) == KEY
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    assert load_key(path) == load_key(None) == bytes([0xAB] * 32)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (KEY.hex(), 0o640, "chmod 600"),
        (KEY.hex()[:-2], 0o600, "62 hexadecimal digits instead of 64"),
        ("", 0o600, "0 hexadecimal digits"),
        ("x" * 64, 0o600, "not hexadecimal"),
        ("é" * 64, 0o600, "cannot be read as text"),
    ],
)
def test_what_is_no_key_is_refused_without_being_quoted(
    tmp_path: Path, text: str, mode: int, why: str
) -> None:
    path = key_file(tmp_path, text, mode=mode)
    with pytest.raises(CacheKeyUnusable, match=why) as raised:
        load_key(path)
    assert not text or text not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_key_that_is_not_there_yet_comes_with_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(CacheKeyUnusable, match="openssl rand -hex 32"):
        load_key(tmp_path / "cache.key")


def test_the_mark_of_a_key_tells_keys_apart_and_not_the_key() -> None:
    assert key_mark(None) == ""
    assert key_mark(KEY) == key_mark(bytes(KEY)) != key_mark(bytes(32))
    assert KEY.hex()[:16] not in key_mark(KEY)
    assert isinstance(seal_of(None), Checksum)
    assert isinstance(seal_of(KEY), Cipher)


@pytest.mark.parametrize("seal", SEALS)
@given(content=st.binary(max_size=100), place=st.integers(0, 10**6), context=st.text(max_size=5))
def test_a_seal_gives_back_what_was_sealed_and_nothing_else(
    seal: Seal, content: bytes, place: int, context: str
) -> None:
    sealed = seal.seal(content, context)
    assert len(sealed) == len(content) + seal.num_extra_bytes
    assert unsealed(seal, sealed, context) == content
    changed = bytearray(sealed)
    changed[place % len(sealed)] ^= 1 << place % 8
    for wrong, elsewhere in ((bytes(changed), context), (sealed, context + "x"), (b"", context)):
        with pytest.raises(SealBroken):
            unsealed(seal, wrong, elsewhere)


def test_the_same_content_is_never_encrypted_the_same_way() -> None:
    cipher = Cipher(KEY)
    sealed = {cipher.seal(b"chest", "place") for _ in range(50)}
    assert len(sealed) == len({each[:12] for each in sealed}) == 50
    assert not any(b"chest" in each for each in sealed)
    with pytest.raises(SealBroken):
        unsealed(Cipher(bytes(32)), sealed.pop(), "place")
