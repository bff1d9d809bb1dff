"""A PACS is asked with patience, believed in nothing, and a failure is told to the person who can mend it."""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from client.config import Dicomweb
from client.dicom.rejection import Reason
from client.sources.dicomweb import DicomwebSource
from client.sources.item import Item, ItemLost, SourceFailed
from federation.certificates import issue_certificate, make_authority
from tests.pacs.small_pacs import BREAK_OFF, HANG_UP, SR_KIND, Instance, SmallPacs, serving


@contextmanager
def source_of(
    pacs: SmallPacs,
    *,
    max_file_bytes: int = 1000,
    **profile: Any,  # noqa: ANN401
) -> Iterator[DicomwebSource]:
    with serving(pacs) as port:
        config = Dicomweb(url=f"http://127.0.0.1:{port}/dicom-web", **profile)
        yield DicomwebSource(config, max_file_bytes=max_file_bytes, pauses=(0.0, 0.0))


def names(source: DicomwebSource) -> list[str]:
    return [item.name for item in source.items()]


def studies(count: int, **facts: Any) -> list[Instance]:  # noqa: ANN401
    return [Instance(name=f"1.{number:04d}/2/3", **facts) for number in range(count)]


def private(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("most_at_once", [10, 20, 10**6])
def test_every_study_is_found_however_few_the_server_gives_at_a_time(most_at_once: int) -> None:
    pacs = SmallPacs(instances=studies(45), most_at_once=most_at_once)
    with source_of(pacs) as source:
        assert names(source) == [instance.name for instance in pacs.instances]


def test_a_server_that_cannot_skip_matches_is_not_asked_for_ever() -> None:
    pacs = SmallPacs(instances=studies(15), knows_offset=False)
    with source_of(pacs) as source:
        assert len(names(source)) == 15


def test_days_and_modalities_are_checked_whatever_the_server_matched() -> None:
    pacs = SmallPacs(
        instances=[
            Instance(name="1.1/2/3", day="20240101"),
            Instance(name="1.2/2/3", day="20240102"),
            Instance(name="1.3/2/3", day=""),
            Instance(name="1.4/2/3", day="20240102", modality="CT"),
        ],
        knows_filters=False,
    )
    with source_of(pacs, since=date(2024, 1, 2)) as source:
        assert names(source) == ["1.2/2/3"]
    with source_of(pacs, until=date(2024, 1, 1)) as source:
        assert names(source) == ["1.1/2/3"]
    with source_of(pacs) as source:
        assert names(source) == ["1.1/2/3", "1.2/2/3", "1.3/2/3"]


@pytest.mark.parametrize("states_modalities", [True, False])
def test_reports_are_asked_for_only_in_studies_with_radiographs(*, states_modalities: bool) -> None:
    pacs = SmallPacs(
        instances=[
            Instance(name="1.1/2/3"),
            Instance(name="1.1/4/5", modality="SR", kind=SR_KIND),
            Instance(name="1.2/2/3", modality="CT", kind="1.2.840.10008.5.1.4.1.1.2"),
            Instance(name="1.2/4/5", modality="SR", kind=SR_KIND),
            Instance(name="1.3/2/3", modality="DX", kind="1.2.840.10008.5.1.4.1.1.11.1"),
        ],
        states_modalities=states_modalities,
    )
    with source_of(pacs) as source:
        assert names(source) == ["1.1/2/3"]
    with source_of(pacs, modalities=("DX", "SR")) as source:
        offered = names(source)
    assert offered[:2] == ["1.1/2/3", "1.1/4/5"]
    # Where the server keeps a study's modalities to itself, a report too many is read.
    assert offered[2:] == ([] if states_modalities else ["1.2/4/5"])


def test_what_cannot_stand_in_an_address_is_counted_and_never_asked_for() -> None:
    odd = ["../2/3", "1.1/2?x/3", "1.2/2/3 4", "1.3/2/" + "1" * 65, "1.4/./3", "1.5/2/3"]
    pacs = SmallPacs(instances=[Instance(name=name) for name in odd])
    with source_of(pacs) as source:
        items = list(source.items())
    assert [item.name for item in items if item.refused is None] == ["1.5/2/3"]
    assert [item.refused for item in items].count(Reason.NOT_FETCHED) == 5
    paths = [urlsplit(asked).path for asked in pacs.asked]
    assert all(
        re.fullmatch(r"/dicom-web/studies(/[0-9.]+/series(/2/instances)?)?", p) for p in paths
    )


def test_an_instance_is_new_once_its_study_is_filed_under_another_person() -> None:
    pacs = SmallPacs(instances=studies(1))
    with source_of(pacs) as source:
        (before,) = source.items()
        (same,) = source.items()
        pacs.instances[0].patient = "SYN2"
        (after,) = source.items()
    assert (before == same, before.version == after.version) == (True, False)


@pytest.mark.parametrize("bare", [True, False])
def test_an_instance_is_fetched_as_it_is_stored_into_a_private_file(
    tmp_path: Path, *, bare: bool
) -> None:
    pacs = SmallPacs(instances=[Instance(name="1/2/3", content=b"\r\n--" * 50)], bare=bare)
    with source_of(pacs) as source:
        (item,) = source.items()
        path = source.file_of(item, tmp_path)
    assert path.read_bytes() == b"\r\n--" * 50
    assert path.stat().st_mode & 0o777 == 0o600
    assert "transfer-syntax=*" in pacs.headers[-1]["Accept"]
    assert {headers["Accept-Encoding"] for headers in pacs.headers} == {"identity"}


def test_several_threads_may_fetch_at_once(tmp_path: Path) -> None:
    pacs = SmallPacs(instances=studies(20))
    for number, instance in enumerate(pacs.instances):
        instance.content = str(number).encode()
    with source_of(pacs) as source, ThreadPoolExecutor(8) as pool:
        paths = pool.map(lambda item: source.file_of(item, tmp_path), list(source.items()))
        assert [path.read_bytes() for path in paths] == [b"%d" % number for number in range(20)]


def test_no_more_of_an_endless_instance_is_fetched_than_the_reader_needs_to_refuse_it(
    tmp_path: Path,
) -> None:
    pacs = SmallPacs(instances=[Instance(name="1/2/3", content=b"x" * 10**6)])
    with source_of(pacs, max_file_bytes=1000) as source:
        (item,) = source.items()
        assert source.file_of(item, tmp_path).stat().st_size == 1001


@pytest.mark.parametrize("stumbles", [[503, BREAK_OFF], [HANG_UP, BREAK_OFF], [500, 429]])
def test_a_server_that_stumbles_twice_is_asked_a_third_time(
    tmp_path: Path, stumbles: list[int]
) -> None:
    pacs = SmallPacs(instances=studies(1))
    with source_of(pacs) as source:
        pacs.stumbles = list(stumbles)
        (item,) = source.items()
        pacs.stumbles = list(stumbles)
        assert source.file_of(item, tmp_path).read_bytes() == b"content"


@pytest.mark.parametrize("stumbles", [[500] * 3, [404], [BREAK_OFF] * 3, [HANG_UP] * 3, [406]])
def test_an_instance_that_is_not_given_is_lost_for_now_and_leaves_nothing_behind(
    tmp_path: Path, stumbles: list[int]
) -> None:
    pacs = SmallPacs(instances=studies(2))
    with source_of(pacs) as source:
        first, second = source.items()
        pacs.stumbles = stumbles
        with pytest.raises(ItemLost) as lost:
            source.file_of(first, tmp_path)
        assert not re.search(r"\d", str(lost.value))
        assert lost.value.__suppress_context__
        assert list(tmp_path.iterdir()) == []
        assert source.file_of(second, tmp_path).exists()


def test_any_number_of_broken_instances_does_not_stop_the_others(tmp_path: Path) -> None:
    pacs = SmallPacs(instances=studies(12))
    with source_of(pacs) as source:
        *broken, last = source.items()
        pacs.stumbles = [500] * (2 + len(broken))
        for item in broken:
            with pytest.raises(ItemLost):
                source.file_of(item, tmp_path)
        # Only the first was asked for three times: a broken store costs no endless waiting.
        assert pacs.stumbles == []
        assert source.file_of(last, tmp_path).exists()


@pytest.mark.parametrize("stumble", [HANG_UP, 503])
def test_a_pacs_that_goes_away_is_not_asked_for_every_instance(
    tmp_path: Path, stumble: int
) -> None:
    pacs = SmallPacs(instances=studies(6))
    with source_of(pacs) as source:
        *items, last = source.items()
        pacs.stumbles = [stumble] * 100
        errors = [failed_fetch(source, item, tmp_path) for item in items]
        assert [type(error) for error in errors[:4]] == [ItemLost] * 4
        assert isinstance(errors[4], SourceFailed)
        assert "cannot be asked now" in str(errors[4])
        pacs.stumbles.clear()
        assert source.file_of(last, tmp_path).exists()


def failed_fetch(source: DicomwebSource, item: Item, scratch: Path) -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        source.file_of(item, scratch)
    return caught.value


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ({"stumbles": [503] * 3}, r"cannot be asked now \(HTTP status 503\)"),
        ({"stumbles": [401]}, r"refuses access \(HTTP status 401\)"),
        ({"stumbles": [404]}, r"is not DICOMweb \(HTTP status 404\)"),
        ({"answer_with": ("text/html", b"<p>log in</p>")}, "is not DICOMweb"),
        ({"answer_with": ("application/json", b"[1]")}, "is not DICOMweb"),
        ({"answer_with": ("application/json", b'"SYN1"')}, "is not DICOMweb"),
    ],
)
def test_a_failure_is_told_in_a_sentence_with_the_place_and_nothing_from_the_answer(
    behaviour: dict[str, Any], sentence: str
) -> None:
    with (
        source_of(SmallPacs(**behaviour)) as source,
        pytest.raises(SourceFailed, match=sentence) as failed,
    ):
        list(source.items())
    assert "PACS at 127.0.0.1:" in str(failed.value) or "answers at 127.0.0.1:" in str(failed.value)
    assert "SYN1" not in str(failed.value)
    assert failed.value.__suppress_context__


def test_nobody_at_the_address_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        config = Dicomweb(url=f"http://127.0.0.1:{unused.getsockname()[1]}/dicom-web")
        source = DicomwebSource(config, max_file_bytes=1, pauses=(0.0,))
        with pytest.raises(SourceFailed, match="can be reached from here"):
            list(source.items())


def test_a_name_and_password_or_a_token_alone_let_in(tmp_path: Path) -> None:
    path = private(tmp_path / "secret", "pässword\nsecond line\n")
    basic = "Basic " + b64encode("us:pässword".encode()).decode()
    with source_of(SmallPacs(authorization=basic), user="us", password_path=path) as source:
        assert names(source) == []
    path.write_text("to.k-en")
    with source_of(SmallPacs(authorization="Bearer to.k-en"), password_path=path) as source:
        assert names(source) == []


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("x", 0o640, "chmod 600"),
        ("", 0o600, "holds no password"),
        ("a\x00b", 0o600, "holds no password"),
        (None, 0, "not a readable text file"),
    ],
)
def test_a_password_file_that_is_open_empty_or_missing_is_refused(
    tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    config = Dicomweb(url="https://pacs.example/", user="us", password_path=path)
    with pytest.raises(SourceFailed, match=reason):
        DicomwebSource(config, max_file_bytes=1)


def test_only_the_server_that_is_meant_is_trusted(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "hospital")
    files = issue_certificate(tmp_path / "hospital", authority, ["localhost"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.cert_path, files.key_path)
    other = make_authority(tmp_path / "elsewhere").ca_path
    pacs = SmallPacs(instances=studies(1))
    with serving(pacs, tls=tls) as port:
        for host, ca_path in (
            ("127.0.0.1", files.ca_path),
            ("localhost", other),
            ("localhost", None),
        ):
            config = Dicomweb(url=f"https://{host}:{port}/dicom-web", ca_path=ca_path)
            with pytest.raises(SourceFailed, match="does not prove that it is the one meant"):
                list(DicomwebSource(config, max_file_bytes=1, pauses=(0.0,)).items())
        assert pacs.asked == []
        config = Dicomweb(url=f"https://localhost:{port}/dicom-web", ca_path=files.ca_path)
        assert names(DicomwebSource(config, max_file_bytes=1)) == ["1.0000/2/3"]


def test_a_certificate_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("none")
    for path in (tmp_path / "ca", tmp_path / "missing"):
        with pytest.raises(SourceFailed, match="`ca_path` of `dicomweb`, cannot be used"):
            DicomwebSource(Dicomweb(url="https://pacs.example", ca_path=path), max_file_bytes=1)


def test_the_environment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(
        "NETRC", str(private(tmp_path / "netrc", "machine 127.0.0.1 login x password y"))
    )
    pacs = SmallPacs(instances=studies(1))
    with source_of(pacs) as source:
        assert len(names(source)) == 1
    assert not [headers for headers in pacs.headers if "Authorization" in headers]
