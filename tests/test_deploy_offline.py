"""What a machine without a network gets: a bundle that proves what it is, and a list of what is in it."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = 'def main():\n    print("fedcxr as installed")\n'


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A wheel of a few files, made by hand."""
    about = f"{name}-{version}.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, content in files.items():
        digest = urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    files[f"{about}/RECORD"] = "\n".join([*rows, f"{about}/RECORD,,", ""])
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return target


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release in small: the program, and one of the parts that the lock pins."""
    folder = tmp_path_factory.mktemp("wheels")
    points = "[console_scripts]\nfedcxr = fedcxr_program:main\n"
    files = {"fedcxr_program.py": PROGRAM, "fedcxr-0.1.0.dist-info/entry_points.txt": points}
    wheel(folder, "fedcxr", "0.1.0", files)
    wheel(folder, "certifi", pinned("certifi"), {"certifi.py": ""})
    return folder


@pytest.fixture(scope="module")
def bundle(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = run(ROOT / "deploy" / "offline" / "bundle.sh", wheels, out)
    assert done.returncode == 0, done.stderr
    return out / "fedcxr-0.1.0-offline.tar"


def pinned(name: str) -> str:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{name}=="))


def unpacked(bundle: Path, folder: Path) -> Path:
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="data")
    return folder / "fedcxr-0.1.0-offline"


@pytest.mark.slow
def test_a_bundle_installs_without_a_network_and_an_upgrade_goes_beside_it(
    bundle: Path, tmp_path: Path
) -> None:
    folder, prefix = unpacked(bundle, tmp_path), tmp_path / "opt" / "fedcxr"
    prefix.parent.mkdir()
    words = ("sh", folder / "install.sh", "--prefix", prefix, "--python", sys.executable)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert run(prefix / "bin" / "fedcxr").stdout == "fedcxr as installed\n"
    assert prefix.readlink() == Path("fedcxr-0.1.0")
    assert (prefix / "share" / "doc" / "sbom.json").exists()
    assert run(*words).returncode == 0  # the same again changes nothing
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["fedcxr", "fedcxr-0.1.0"]


def test_a_folder_in_which_one_byte_changed_installs_nothing(bundle: Path, tmp_path: Path) -> None:
    folder = unpacked(bundle, tmp_path)
    with next((folder / "wheels").glob("certifi*")).open("ab") as file:
        file.write(b"x")
    done = run(
        "sh", folder / "install.sh", "--prefix", tmp_path / "opt", "--python", sys.executable
    )
    assert done.returncode == 2
    assert "not what was bundled" in done.stderr
    assert not list(tmp_path.glob("opt*"))


def test_a_bundle_holds_all_that_is_needed_and_its_own_list(bundle: Path, tmp_path: Path) -> None:
    folder = unpacked(bundle, tmp_path)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = {line.split("  ./")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    assert {"install.sh", "sbom.json", "systemd/fedcxr-hospital.service", "VERSION"} <= names
    stated = bundle.with_suffix(".tar.sha256").read_text().split()[0]
    assert stated == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_the_same_wheels_give_the_same_bundle(bundle: Path, wheels: Path, tmp_path: Path) -> None:
    run(ROOT / "deploy" / "offline" / "bundle.sh", wheels, tmp_path)
    assert (tmp_path / bundle.name).read_bytes() == bundle.read_bytes()


def test_without_the_release_itself_there_is_no_bundle(tmp_path: Path) -> None:
    done = run(ROOT / "deploy" / "offline" / "bundle.sh", tmp_path, tmp_path)
    assert done.returncode == 2
    assert "pip wheel" in done.stderr


def test_the_list_of_parts_names_every_pin_with_its_licence_and_who_needs_it(
    tmp_path: Path,
) -> None:
    done = run(
        sys.executable, ROOT / "deploy" / "sbom.py", ROOT / "requirements.lock", tmp_path / "s.json"
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "s.json").read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in content["components"]}
    pins = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    assert len(parts) == len(pins)
    assert parts["flwr"]["purl"] == f"pkg:pypi/flwr@{pinned('flwr')}"
    assert all("licenses" in part for part in parts.values())
    needs = {each["ref"]: each["dependsOn"] for each in content["dependencies"]}
    assert set(needs) == {part["bom-ref"] for part in parts.values()} | {"pkg:pypi/fedcxr@0.1.0"}
    known = set(needs)
    assert all(set(targets) <= known for targets in needs.values())
    assert parts["httpx"]["bom-ref"] in needs["pkg:pypi/fedcxr@0.1.0"]
    assert parts["certifi"]["bom-ref"] in needs[parts["httpx"]["bom-ref"]]


def test_the_list_of_a_bundle_is_of_what_is_in_it_with_digests(
    bundle: Path, wheels: Path, tmp_path: Path
) -> None:
    content = json.loads((unpacked(bundle, tmp_path) / "sbom.json").read_text())
    (part,) = content["components"]
    (path,) = wheels.glob("certifi*")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert part["hashes"] == [{"alg": "SHA-256", "content": digest}]
