"""Debian's nginx with the configuration that comes with the program, in front of a gateway of a test's."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.gateway_process import Gateway, wait_for

PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIGURATION = Path(__file__).parents[2] / "configs" / "nginx" / "fedcxr.conf"
AROUND = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/fedcxr.conf;
}}
"""


@contextmanager
def nginx_before(
    gateway: Gateway, folder: Path, port: int, changes: Mapping[str, str]
) -> Iterator[Gateway]:
    """The gateway as it is seen through nginx.

    Args:
        gateway: one that runs.
        folder: for nginx's files.
        port: nginx's.
        changes: what stands elsewhere in the configuration than a test can wait for.
    """
    assert PROGRAM
    text = CONFIGURATION.read_text()
    places = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server 127.0.0.1:8443": f"server 127.0.0.1:{gateway.port}",
        "/var/lib/fedcxr/tls": str(gateway.state / "tls"),
    }
    for before, after in {**places, **changes}.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "fedcxr.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))
    command = [PROGRAM, "-p", str(folder), "-c", "nginx.conf", "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    seen = Gateway(state=gateway.state, port=port, log_path=folder / "error.log")
    try:
        wait_for(lambda: process.poll() is not None or _listens(seen))
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield seen
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr:
            process.stderr.close()


def _listens(seen: Gateway) -> bool:
    with suppress(OSError):
        return bool(seen.call("GET", "/healthz", "")[0])
    return False
