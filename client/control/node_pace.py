"""The profile's speeds for what travels inside messages: Flower's node waits after what came, and before what leaves."""

from collections.abc import Callable
from pathlib import Path

from flwr.proto.message_pb2 import (
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.control.limits import Limits, limits_in_force
from client.control.pace import Pace
from client.flower_names import replace_name

Pull = Callable[[FleetHttpClient, PullObjectRequest], PullObjectResponse]
Push = Callable[[FleetHttpClient, PushObjectRequest], PushObjectResponse]


def keep_pace(state_path: Path) -> None:
    """Have the parts of Flower's messages come and go no faster, on average, than the hospital lets them now."""
    down, up = Pace(None), Pace(None)

    def now() -> Limits:
        return limits_in_force(state_path) or Limits()

    def paced_pull(original: Pull) -> Pull:
        def PullObject(  # noqa: N802  Flower's name
            client: FleetHttpClient, request: PullObjectRequest
        ) -> PullObjectResponse:
            answer = original(client, request)
            down.bytes_per_second = now().download_bytes_per_second
            down.take(len(answer.object_content))
            return answer

        return PullObject

    def paced_push(original: Push) -> Push:
        def PushObject(  # noqa: N802  Flower's name
            client: FleetHttpClient, request: PushObjectRequest
        ) -> PushObjectResponse:
            up.bytes_per_second = now().upload_bytes_per_second
            up.take(len(request.object_content))
            return original(client, request)

        return PushObject

    replace_name(FleetHttpClient, "PullObject", paced_pull)
    replace_name(FleetHttpClient, "PushObject", paced_push)
