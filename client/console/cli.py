"""The command that serves the hospital's console."""

from typing import Annotated

import typer

from client.arguments import Json, Site
from federation.terminal import emit, stop_on_signals

app = typer.Typer()


@app.command()
def console(
    site: Site,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses one.")] = 8450,
    set_password: Annotated[
        bool, typer.Option("--set-password", help="Ask for a password, keep its hash, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show on this machine what the hospital has, what is asked of it and what left; pause and stop it there."""
    from client.console.run import PASSWORD_NAME, serve_console

    if set_password:
        from client.config import load_site
        from federation.console.password import write_password

        path = load_site(site).state_path / PASSWORD_NAME
        write_password(path, typer.prompt("Password", hide_input=True, confirmation_prompt=True))
        emit({"password": str(path)}, f"the password is set ({path})", as_json=as_json)
        return
    with stop_on_signals() as stop:
        serve_console(
            site.resolve(),
            port,
            stop=stop,
            ready=lambda url: emit({"url": url}, f"console: {url}", as_json=as_json),
            tell=lambda word: emit(
                {"password": word}, f"password, good for one sign-in: {word}", as_json=as_json
            ),
        )
