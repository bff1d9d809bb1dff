"""Talking to the SuperLink's control interface: who may take part, which runs there are.

Flower's own command line does the same, but needs two seconds of processor time per question; here a process
asks as often as it likes. The interface knows no credentials, which is why it never leaves loopback.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.transport_pb2 import Scalar
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from federation.processes import keep_loopback_direct

UNREGISTERED = "unregistered"
"""Flower's status of a node whose key was taken back; it can never be registered again."""


class ControlRefused(RuntimeError):
    """The SuperLink did not do what it was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredNode:
    """One key that the SuperLink knows."""

    node_id: int
    name: str
    public_key: bytes
    """PEM."""
    status: str
    """Flower's word: ``registered``, ``online``, ``offline`` or ``unregistered``."""
    since: float | None = None
    """When it came online or went offline, in seconds since 1970; None: it was never online."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """An open connection to one SuperLink."""

    _client: ControlHttpClient

    def nodes(self) -> list[RegisteredNode]:
        """Every node ever registered."""
        with _plain_errors():
            answer = self._client.ListNodes(ListNodesRequest())
        return [
            RegisteredNode(
                node_id=info.node_id,
                name=info.name,
                public_key=info.public_key,
                status=info.status,
                since=_since(info),
            )
            for info in answer.nodes_info
        ]

    def register(self, name: str, public_key: bytes) -> int:
        """Let the holder of a key take part under a name; returns its node id."""
        with _plain_errors():
            answer = self._client.RegisterNode(
                RegisterNodeRequest(public_key=public_key, name=name)
            )
        return answer.node_id

    def unregister(self, node_id: int) -> None:
        """Take a key back, for good."""
        with _plain_errors():
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def start_run(self, bundle: bytes, digest: str, run_config: Mapping[str, str]) -> str:
        """Submit a run; returns its id."""
        request = StartRunRequest(
            fab=Fab(hash_str=digest, content=bundle),
            override_config={key: Scalar(string=value) for key, value in run_config.items()},
        )
        with _plain_errors():
            answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise ControlRefused("Flower accepted the bundle but started no run: read its log")
        return str(answer.run_id)

    def run_status(self, run_id: str) -> str:
        """``pending``, ``starting``, ``running`` or ``finished:`` with how."""
        with _plain_errors():
            answer = self._client.ListRuns(ListRunsRequest(run_id=int(run_id)))
        status = answer.run_dict[int(run_id)].status
        return f"{status.status}:{status.sub_status}" if status.sub_status else status.status

    def stop_run(self, run_id: str) -> None:
        """End a run; hospitals finish what they are doing."""
        with _plain_errors():
            self._client.StopRun(StopRunRequest(run_id=int(run_id)))


def _since(info: NodeInfo) -> float | None:
    """The last time a node came or went, whichever was later."""
    known = [text for text in (info.last_activated_at, info.last_deactivated_at) if text]
    return max((datetime.fromisoformat(text).timestamp() for text in known), default=None)


@contextlib.contextmanager
def open_control(port: int, ca_path: Path) -> Iterator[Control]:
    """Connect to the SuperLink on this machine."""
    keep_loopback_direct()
    client = ControlHttpClient.from_server_address(
        f"127.0.0.1:{port}",
        insecure=False,
        root_certificates=ca_path.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="fedcxr")],
    )
    try:
        yield Control(_client=client)
    finally:
        client.close()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    try:
        yield
    except httpx.HTTPStatusError as err:
        known = FlowerError.from_json(err.response.text)
        reason = known.message if known else f"status {err.response.status_code}"
        raise ControlRefused(f"the SuperLink refused: {reason}") from err
    except httpx.HTTPError as err:
        raise ControlRefused(f"the SuperLink does not answer ({type(err).__name__})") from err
