"""The command that edits."""

import typer

app = typer.Typer()
