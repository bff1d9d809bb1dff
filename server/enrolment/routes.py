"""The paths under ``/enrol/`` of the public port: the authority's certificate for everyone, membership for the invited."""

import logging
from collections.abc import Callable
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from federation.certificates import AuthorityUnusable
from federation.enrolment import CA_PATH, JOIN_PATH, MAX_BODY_BYTES, RENEW_PATH, Enrolled
from federation.files import AlreadyRunning
from federation.strict_json import to_json
from federation.strict_yaml import ConfigError
from server.enrolment.admitting import Admission
from server.enrolment.invitations import CannotEnrol
from server.enrolment.members import Members, caller_of

logger = logging.getLogger(__name__)


class EnrolRoutes:
    """Admits hospitals to the coordinator of one state folder."""

    def __init__(self, state: Path, roster: Path, members: Members) -> None:
        self._admission = Admission(state=state, roster=roster)
        self._members = members

    def routes(self) -> list[Route]:
        """What to mount."""
        return [
            Route(CA_PATH, self._authority, methods=["GET"]),
            Route(JOIN_PATH, self._join, methods=["POST"]),
            Route(RENEW_PATH, self._renew, methods=["POST"]),
        ]

    async def _authority(self, _: Request) -> Response:
        """Who is invited compares it with the fingerprint in the code, before it trusts anything else here."""
        authority = self._admission.certificates
        try:
            content = authority.ca_path.read_bytes()
            if authority.vouchers_path.exists():
                content += authority.vouchers_path.read_bytes()
        except OSError:
            return PlainTextResponse("unavailable", 503)
        return Response(content, media_type="application/x-pem-file")

    async def _join(self, request: Request) -> Response:
        body = await _read_body(request)
        if body is None:
            return PlainTextResponse("too large", 413)
        answer = await _answered(lambda: self._admission.join(body))
        self._members.look_again()
        return answer

    async def _renew(self, request: Request) -> Response:
        refused, caller = self._members.why_refused(request.headers), caller_of(request.headers)
        if refused is not None or caller is None or caller.certificate is None:
            return PlainTextResponse(str(refused or "unknown"), 403)
        body = await _read_body(request)
        if body is None:
            return PlainTextResponse("too large", 413)
        site = self._members.member(request.headers)
        return await _answered(lambda: self._admission.renew(body, site, caller.public_key))


async def _answered(work: Callable[[], Enrolled]) -> Response:
    """The answer to a request that was read; the disk is not waited for by anyone else."""
    try:
        enrolled = await run_sync(work)
    except CannotEnrol as err:
        return PlainTextResponse(str(err.word), 403)
    except (AlreadyRunning, AuthorityUnusable, ConfigError, OSError):
        logger.exception("a request to join could not be answered")
        return PlainTextResponse("unavailable", 503)
    return Response(to_json(enrolled), media_type="application/json")


async def _read_body(request: Request) -> bytes | None:
    """The whole body; None if it is larger than any request is, or its sender went away."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return None
    except ClientDisconnect:
        return None
    return bytes(body)
