"""A console as an application: the door, the shared files, and how a page is shown or a form is read.

The pages themselves belong to the coordinator and to the hospitals. They take `SignedIn` and `Form` as arguments, so
that none can be reached without the password and no form without its mark.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment
from starlette.exceptions import HTTPException

from federation.console.doorkeeper import Doorkeeper, TooManyAttempts
from federation.console.sessions import Sessions, new_token
from federation.terminal import explain

logger = logging.getLogger(__name__)

SHARED_FILES = {
    "look.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
LIVE_HEADER = "x-live"
"""Sent by a page that refreshes itself."""
MARK = "mark"
"""Name of the field that carries a form's mark."""
PROBLEMS = {
    404: ("There is no such page", "It may have been there before: go back to the overview."),
    405: ("That is not done this way", "Go back to the overview and use the page's own buttons."),
}
UNKNOWN_PROBLEM = (
    "This page cannot be shown",
    "The reason is in the console's log, where it was started. Nothing was changed.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An entry of the menu."""

    path: str
    text: str
    below: str = ""
    """How the addresses of other pages begin that belong to it; empty for none."""

    def leads_to(self, here: str) -> bool:
        """Whether a page is this entry's, or belongs to it."""
        return here == self.path or (self.below != "" and here.startswith(self.below))


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """What all pages of one console share."""

    title: str
    """Whose console it is."""
    links: tuple[Link, ...]
    environment: Environment
    doorkeeper: Doorkeeper
    command: str
    """What was typed to start it, for whoever looks for the password."""
    cookie: str
    """Name of its cookie: browsers send one machine's cookies to all of its ports."""
    is_secure: bool
    """Whether it is served over TLS."""
    sessions: Sessions = field(default_factory=Sessions)

    def show(
        self,
        request: Request,
        template: str,
        facts: Mapping[str, object],
        *,
        status: int = 200,
    ) -> HTMLResponse:
        """A page."""
        token = request.cookies.get(self.cookie, "")
        content = self.environment.get_template(template).render(
            {
                "console": self,
                "here": request.url.path,
                "now": time.time(),
                "is_signed_in": self.sessions.is_open(token, is_use=False),
                "mark": self.sessions.mark(token),
                **facts,
            }
        )
        return HTMLResponse(content, status)

    def problem(self, request: Request, what: str, remedy: str, *, status: int) -> HTMLResponse:
        """A page that says what is wrong, and what to do."""
        facts = {"what": what, "remedy": remedy}
        return self.show(request, "problem.html", facts, status=status)

    def hand_over(self, response: Response, token: str) -> Response:
        """Give a token to the browser, for as long as it runs."""
        response.set_cookie(
            self.cookie, token, httponly=True, samesite="strict", secure=self.is_secure, path="/"
        )
        return response


class NotSignedIn(Exception):
    """Somebody asks for a page before the password."""


class FormNotOurs(Exception):
    """A form without the mark of this console."""


def console_of(request: Request) -> Console:
    """The console that was asked."""
    console: Console = request.app.state.console
    return console


TheConsole = Annotated[Console, Depends(console_of)]


def signed_in(request: Request, console: TheConsole) -> Console:
    """The console, for somebody who has entered it.

    Raises:
        NotSignedIn: nobody has.
    """
    token = request.cookies.get(console.cookie, "")
    if not console.sessions.is_open(token, is_use=LIVE_HEADER not in request.headers):
        raise NotSignedIn
    return console


SignedIn = Annotated[Console, Depends(signed_in)]


async def form_of(request: Request, console: TheConsole) -> Mapping[str, str]:
    """The fields of a form, without its mark.

    Raises:
        FormNotOurs: the mark is missing or wrong.
    """
    body = (await request.body()).decode("ascii", errors="replace")
    try:
        read = parse_qs(body, keep_blank_values=True, max_num_fields=32)
    except ValueError as err:
        raise FormNotOurs from err
    fields = {name: values[-1] for name, values in read.items()}
    token = request.cookies.get(console.cookie, "")
    if not token or not console.sessions.is_marked(token, fields.pop(MARK, "")):
        raise FormNotOurs
    return fields


Form = Annotated[Mapping[str, str], Depends(form_of)]
door = APIRouter()


def console_app(console: Console, *pages: APIRouter) -> FastAPI:
    """An application of the door and these pages; without descriptions of itself."""
    app = FastAPI(title=console.title, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    for router in (door, *pages):
        app.include_router(router)
    app.add_exception_handler(NotSignedIn, _to_the_door)
    app.add_exception_handler(FormNotOurs, _foreign_form)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _http_problem)
    app.middleware("http")(_tell_problems)
    return app


def see(path: str) -> RedirectResponse:
    """After a form: have the browser ask for a page, so that going back sends nothing twice."""
    return RedirectResponse(path, 303)


@door.get("/shared/{name}")
def shared_file(name: str) -> Response:
    """The look, and the few lines that keep a page current; the only things to be had without a password."""
    if name not in SHARED_FILES:
        raise HTTPException(404)
    content = files("federation.console").joinpath("static", name).read_bytes()
    return Response(content, media_type=SHARED_FILES[name])


@door.get("/login")
def door_page(request: Request, console: TheConsole) -> Response:
    """Where the password is given."""
    token = request.cookies.get(console.cookie, "")
    if console.sessions.is_open(token, is_use=False):
        return see("/")
    if token:
        return console.show(request, "login.html", {"complaint": ""})
    return console.hand_over(see("/login"), new_token())


@door.post("/login")
def enter(request: Request, console: TheConsole, form: Form) -> Response:
    """Take the password; whoever enters gets a token that was never used before."""
    address = request.client.host if request.client else ""
    try:
        if console.doorkeeper.admits(form.get("password", "").strip(), address):
            logger.info("console: somebody signed in from %s", address)
            return console.hand_over(see("/"), console.sessions.begin())
    except TooManyAttempts as err:
        logger.warning("console: too many wrong passwords from %s", address)
        page = console.show(request, "login.html", {"complaint": str(err)}, status=429)
        page.headers["retry-after"] = str(int(err.seconds) + 1)
        return page
    complaint = "That is not the password."
    return console.show(request, "login.html", {"complaint": complaint}, status=401)


@door.post("/logout")
def leave(request: Request, console: SignedIn, _form: Form) -> Response:
    """Close the session."""
    console.sessions.end(request.cookies[console.cookie])
    return console.hand_over(see("/login"), new_token())


def _to_the_door(_request: Request, _err: Exception) -> Response:
    return see("/login")


def _foreign_form(request: Request, _err: Exception) -> Response:
    what, remedy = (
        "This form is out of date",
        "Nothing was changed. Open the page again, then send it.",
    )
    return console_of(request).problem(request, what, remedy, status=403)


def _http_problem(request: Request, err: Exception) -> Response:
    status = err.status_code if isinstance(err, HTTPException) else 404
    what, remedy = PROBLEMS.get(status, UNKNOWN_PROBLEM)
    return console_of(request).problem(request, what, remedy, status=status)


async def _tell_problems(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Show our own sentences to whoever is signed in; anything else stays in the log."""
    try:
        return await call_next(request)
    except Exception as err:
        logger.exception("console: a page could not be shown")
        console = console_of(request)
        token = request.cookies.get(console.cookie, "")
        sentence = explain(err) if console.sessions.is_open(token, is_use=False) else None
        what, remedy = UNKNOWN_PROBLEM
        return console.problem(request, what, sentence or remedy, status=500)
