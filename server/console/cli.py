"""The command that serves the coordinator's console."""

from typing import Annotated

import typer

from federation.terminal import emit, stop_on_signals
from server.arguments import Json, State

app = typer.Typer()


@app.command()
def console(
    state: State,
    listen: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own speaks TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses one.")] = 8440,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address typed into the browser, with --listen; repeat for more."
        ),
    ] = None,
    set_password: Annotated[
        bool, typer.Option("--set-password", help="Ask for a password, keep its hash, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show studies, rounds and hospitals as pages, behind a password, until stopped."""
    from server.console.run import PASSWORD_NAME, ConsoleSettings, serve_console

    if set_password:
        from federation.console.password import write_password

        path = state.resolve() / PASSWORD_NAME
        write_password(path, typer.prompt("Password", hide_input=True, confirmation_prompt=True))
        emit({"password": str(path)}, f"the password is set ({path})", as_json=as_json)
        return
    settings = ConsoleSettings(
        state_path=state.resolve(), host=listen, port=port, names=tuple(name or ())
    )
    with stop_on_signals() as stop:
        serve_console(
            settings,
            stop=stop,
            ready=lambda url: emit({"url": url}, f"console: {url}", as_json=as_json),
            tell=lambda word: emit(
                {"password": word}, f"password, good for one sign-in: {word}", as_json=as_json
            ),
        )
