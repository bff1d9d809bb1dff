"""The command that evaluates."""

import typer

app = typer.Typer()
