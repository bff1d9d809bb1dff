"""The bundle that a Flower run carries: names of entry points, and nothing that could run.

Flower puts a bundle's folder first on the module path, so a bundle with code would override the code that a
hospital reviewed. This one holds configuration only and is written byte for byte the same by every
installation of a release (stored, not compressed: compressors differ), so that a hospital can compute from
its own installation the only digest it accepts.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from federation.files import write_file

BUNDLE_ID = "fedcxr/fedcxr"
"""Publisher and name, as Flower joins them."""
SERVER_COMPONENT = "server.app:app"
CLIENT_COMPONENT = "client.app:app"
DIGEST_PREFIX = 8
"""Characters of the digest in the names that Flower gives to bundles and their folders."""
_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX = 3

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "fedcxr"
version = "{version}"
description = "Entry points of an installed fedcxr; carries no code"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedcxr"

[tool.flwr.app.components]
serverapp = "{server_component}"
clientapp = "{client_component}"

[tool.flwr.app.config]
study = ""
task = "rounds"
"""


def bundle_version() -> str:
    """The installed release."""
    return version("fedcxr")


def bundle_files(
    *, server_component: str = SERVER_COMPONENT, client_component: str = CLIENT_COMPONENT
) -> dict[str, bytes]:
    """Everything in the bundle, by path."""
    project = PYPROJECT.format(
        version=bundle_version(),
        server_component=server_component,
        client_component=client_component,
    )
    release = (
        f'# The code of a run is the release each side installed.\nrelease: "{bundle_version()}"\n'
    )
    return {"pyproject.toml": project.encode(), "release.yaml": release.encode()}


def bundle_bytes(files: Mapping[str, bytes] | None = None) -> bytes:
    """The bundle as Flower reads it: a zip file with a list of its contents."""
    files = bundle_files() if files is None else files
    listing = "\n".join(
        f"{path},{hashlib.sha256(content).hexdigest()},{8 * len(content)}"
        for path, content in files.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for path, content in {**files, ".info/CONTENT": listing.encode()}.items():
            bundle.writestr(_entry(path), content)
    return buffer.getvalue()


def bundle_digest(files: Mapping[str, bytes] | None = None) -> str:
    """SHA-256 of the bundle, in hex: what a hospital pins."""
    return hashlib.sha256(bundle_bytes(files)).hexdigest()


def write_bundle(folder: Path) -> Path:
    """Write the bundle under the name that Flower gives it, for a person to open and compare."""
    name = BUNDLE_ID.replace("/", ".") + "." + bundle_version().replace(".", "-")
    path = folder / f"{name}.{bundle_digest()[:DIGEST_PREFIX]}.fab"
    write_file(path, bundle_bytes(), mode=0o644)
    return path


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=_DATE)
    entry.create_system = _UNIX
    entry.external_attr = 0o644 << 16
    return entry
