"""The coordinator's pages: studies, one study, hospitals. They show; what changes anything is typed."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from federation.console.pages import SignedIn
from federation.terminal import program
from server.console.connections import Connections
from server.console.views import samples_path, site_rows, standing_of, study_view
from server.endpoint import ROSTER, CoordinatorNotRunning, Endpoint, read_endpoint
from server.enrolment.members_table import members_table
from server.roster_keys import read_roster
from server.store import StudyStore
from server.survey import answering, open_study, study_folders, survey

pages = APIRouter()


def connections_of(request: Request) -> Connections:
    """What the console knows of the hospitals' nodes."""
    connections: Connections = request.app.state.connections
    return connections


Nodes = Annotated[Connections, Depends(connections_of)]


@pages.get("/")
def overview(request: Request, console: SignedIn, nodes: Nodes) -> Response:
    """All studies, and whether hospitals can connect."""
    connected = nodes.look()
    views, damaged = survey(nodes.state_path, lambda store: study_view(store, connected))
    facts = {
        "endpoint": _endpoint(nodes.state_path),
        "studies": sorted(views, key=lambda view: view.urgency),
        "damaged": damaged,
        "connected": connected,
        "program": program(),
        "state_path": nodes.state_path,
    }
    return console.show(request, "overview.html", facts)


@pages.get("/studies/{key}")
def one_study(request: Request, key: str, console: SignedIn, nodes: Nodes) -> Response:
    """Everything about one study."""
    view = study_view(_store(nodes.state_path, key), nodes.look())
    facts = {"view": view, "program": program(), "state_path": nodes.state_path}
    return console.show(request, "study.html", facts)


@pages.get("/studies/{key}/samples.png")
def samples(key: str, _console: SignedIn, nodes: Nodes) -> Response:
    """The sheet of generated radiographs; every one of them is made up."""
    path = samples_path(_store(nodes.state_path, key))
    if not path.exists():
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png")


@pages.get("/hospitals")
def hospitals(request: Request, console: SignedIn, nodes: Nodes) -> Response:
    """The roster, and whether each hospital is connected and contributes."""
    connected, endpoint = nodes.look(), _endpoint(nodes.state_path)
    roster = endpoint.roster_path if endpoint else nodes.state_path / ROSTER
    members = members_table(nodes.state_path, roster)
    stores, damaged = survey(nodes.state_path, answering)
    facts = {
        "rows": site_rows(stores, connected, members),
        "damaged": damaged,
        "standing_of": standing_of,
        "problems": read_roster(roster).problems,
        "roster": roster,
        "connected": connected,
        "endpoint": endpoint,
        "program": program(),
        "state_path": nodes.state_path,
    }
    return console.show(request, "hospitals.html", facts)


def _store(state_path: Path, key: str) -> StudyStore:
    """The study of an address; compared with what there is, so that no address names another folder.

    Raises:
        DamagedStudy: if it cannot be read.
    """
    for folder in study_folders(state_path):
        if folder.name == key:
            return open_study(folder)
    raise HTTPException(404)


def _endpoint(state_path: Path) -> Endpoint | None:
    try:
        return read_endpoint(state_path)
    except CoordinatorNotRunning:
        return None
