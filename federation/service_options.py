"""What the commands of both sides for whoever keeps them running have in common: options, and what is said of a backup."""

from pathlib import Path
from typing import Annotated

import typer

from federation.archive import Contents
from federation.terminal import emit, shown

MetricsPort = Annotated[
    int,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        envvar="FEDCXR_METRICS_PORT",
        help="Port on 127.0.0.1 where Prometheus reads /metrics; 0 opens none.",
    ),
]
BackupFile = Annotated[Path, typer.Argument(help="The file to write; an older one is replaced.")]
WithKeys = Annotated[
    bool, typer.Option("--with-keys", help="Also the secret keys. Guard the file like them.")
]


def tell_backup(file: Path, contents: Contents, *, as_json: bool) -> None:
    """Say what is in a backup that was written, and what has to be kept apart."""
    facts = {"file": str(file), "files": len(contents.files), "left_out": contents.left_out}
    lines = [f"{shown(file.resolve())}: {len(contents.files)} files, made {contents.made}"]
    if contents.left_out:
        lines.append(f"not in it, keep them apart: {', '.join(contents.left_out)} (or --with-keys)")
    emit(facts, "\n".join(lines), as_json=as_json)
