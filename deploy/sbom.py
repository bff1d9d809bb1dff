# ruff: noqa: INP001  started as a script, by `make sbom`
"""The list of everything that an installation consists of, for those who have to know it: CycloneDX 1.6, as JSON.

    python deploy/sbom.py requirements.lock out/sbom.json

Names and versions come from the lock, licences and who needs whom from what is installed beside this Python. With
``--wheels FOLDER`` the list is of the parts whose wheels lie there, each with its SHA-256: what is shipped, without
the tools of development. The same input gives the same bytes.
"""

import argparse
import hashlib
import importlib.metadata
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Mapping
from pathlib import Path

SPEC = "1.6"
NAMESPACE = uuid.UUID("6f1c2f53-9a56-4a5c-9d5e-6b1b6a3f1d2e")
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
NEEDED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")
SPDX = frozenset(
    {
        *("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "0BSD"),
        *("HPND", "MIT-CMU", "Unlicense", "Zlib", "LGPL-2.1-only", "LGPL-3.0-only"),
    }
)
"""Identifiers that are written as such; any other text of a package about its licence is written as its words."""
MAX_LICENCE_TEXT = 120

Component = dict[str, object]


def main() -> None:
    """Write the list."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("lock", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--wheels", type=Path)
    given = arguments.parse_args()
    content = bill(given.lock, given.lock.resolve().parent / "pyproject.toml", given.wheels)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{given.out}: {len(content['components'])} components\n")  # type: ignore[arg-type]


def bill(lock: Path, project: Path, wheels: Path | None = None) -> dict[str, object]:
    """The whole list.

    Args:
        lock: one ``name==version`` a line.
        project: the distribution's pyproject.toml.
        wheels: folder of the files that are installed.

    Raises:
        ValueError: a line of the lock pins nothing.
    """
    pins = pins_of(lock)
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    main_part = {
        "type": "application",
        "name": about["name"],
        "version": about["version"],
        "bom-ref": _purl(about["name"], about["version"]),
        "licenses": [{"license": {"id": about["license"]}}],
    }
    digests = _digests(wheels) if wheels else {}
    if wheels:
        pins = {name: version for name, version in pins.items() if name in digests}
    needed = sorted({_name_of(line) for line in about["dependencies"]} & pins.keys())
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, lock.read_text(encoding='utf-8'))}",
        "version": 1,
        "metadata": {"component": main_part},
        "components": [component(name, pins[name], digests) for name in sorted(pins)],
        "dependencies": [
            {"ref": main_part["bom-ref"], "dependsOn": [_purl(n, pins[n]) for n in needed]},
            *({"ref": _purl(n, pins[n]), "dependsOn": _needs(n, pins)} for n in sorted(pins)),
        ],
    }


def pins_of(lock: Path) -> dict[str, str]:
    """Normalised name to version.

    Raises:
        ValueError: a line pins nothing.
    """
    pins = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith(("#", "-", " ")):
            continue
        pinned = PINNED.match(line)
        if pinned is None:
            raise ValueError(f"{lock.name}: {line.strip()!r} pins no version")
        pins[_normal(pinned[1])] = pinned[2]
    return pins


def component(name: str, version: str, digests: Mapping[str, list[str]]) -> Component:
    """One part."""
    found: Component = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": _purl(name, version),
        "bom-ref": _purl(name, version),
    }
    licence = _licence(name)
    if licence:
        found["licenses"] = [licence]
    if name in digests:
        found["hashes"] = [{"alg": "SHA-256", "content": each} for each in digests[name]]
    return found


def _licence(name: str) -> dict[str, object] | None:
    """What an installed package says of its licence."""
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    expression = _field(about, "License-Expression")
    if expression:
        simple = expression in SPDX
        return {"license": {"id": expression}} if simple else {"expression": expression}
    said = _field(about, "License")
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved :: ")
    ]
    text = classified[0] if classified else said.partition("\n")[0][:MAX_LICENCE_TEXT]
    if not text:
        return None
    return {"license": {"id" if text in SPDX else "name": text}}


def _field(about: importlib.metadata.PackageMetadata, name: str) -> str:
    """A field's text; empty if there is none."""
    return str(about[name]) if name in about else ""


def _needs(name: str, pins: Mapping[str, str]) -> list[str]:
    """Parts of the lock that an installed package cannot do without."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = {_name_of(line) for line in lines if "extra ==" not in line}
    return [_purl(each, pins[each]) for each in sorted(names & pins.keys())]


def _digests(wheels: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(wheels.glob("*.whl")):
        name = _normal(path.name.split("-")[0])
        with path.open("rb") as file:
            found.setdefault(name, []).append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def _name_of(line: str) -> str:
    named = NEEDED.match(line.strip())
    return _normal(named[1]) if named else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{_normal(name)}@{version}"


if __name__ == "__main__":
    main()
