"""Patients become opaque keys that only their own hospital can compute."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.patient import (
    SecretUnusable,
    link_key,
    load_or_create_secret,
    opaque_name,
    patient_key,
    record_key,
    unknown_patient_key,
)

SECRET = bytes(range(32))


def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    first = load_or_create_secret(path)
    assert load_or_create_secret(path) == first
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_two_hospitals_never_share_a_secret(tmp_path: Path) -> None:
    assert load_or_create_secret(tmp_path / "a") != load_or_create_secret(tmp_path / "b")


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from privacy.patient import load_or_create_secret;"
        "sys.stdout.write(load_or_create_secret(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "secret")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 1


def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_or_create_secret(path)
    path.chmod(0o640)
    with pytest.raises(SecretUnusable, match="chmod 600"):
        load_or_create_secret(path)


def test_a_cut_secret_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(SecretUnusable, match="5 bytes instead of 32"):
        load_or_create_secret(path)


def test_a_patient_keeps_the_key_and_another_hospital_computes_another() -> None:
    key = patient_key(SECRET, patient_id="17", issuer="ward")
    assert key == patient_key(SECRET, patient_id=" 17 ", issuer="ward")
    assert key != patient_key(bytes(32), patient_id="17", issuer="ward")
    assert 0 <= key < 2**64


def test_the_same_number_from_two_issuers_is_two_patients() -> None:
    keys = {
        patient_key(SECRET, patient_id=name, issuer=issuer)
        for name, issuer in (("1", "23"), ("12", "3"), ("123", ""), ("23", "1"))
    }
    assert len(keys) == 4


def test_radiographs_without_patient_id_belong_to_one_patient() -> None:
    keys = {patient_key(SECRET, patient_id="", issuer=issuer) for issuer in ("", "ward")}
    assert keys == {unknown_patient_key(SECRET)}


def test_a_record_and_a_patient_of_the_same_name_have_different_keys() -> None:
    assert record_key(SECRET, instance_uid="1") != patient_key(SECRET, patient_id="1", issuer="")


def test_header_text_that_is_no_text_still_gives_a_key() -> None:
    assert patient_key(SECRET, patient_id="\udcff\0é", issuer="") > 0


def test_an_identifier_joins_what_bears_it_within_its_kind_alone() -> None:
    study = link_key(SECRET, "study", "1.2.3")
    assert study == link_key(SECRET, "study", " 1.2.3 ")
    others = (
        link_key(SECRET, "instance", "1.2.3"),
        link_key(SECRET, "study", "1.2.4"),
        link_key(bytes(32), "study", "1.2.3"),
        patient_key(SECRET, patient_id="1.2.3", issuer=""),
    )
    assert len({study, *others}) == 5


def test_an_empty_identifier_joins_nothing() -> None:
    assert link_key(SECRET, "accession", " ") == link_key(SECRET, "study", "") == 0


def test_names_are_opaque_and_tell_parts_apart() -> None:
    names = {opaque_name(SECRET, *parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ())}
    assert len(names) == 4
    assert {len(name) for name in names} == {16}
    assert opaque_name(bytes(32), "abc") not in names
