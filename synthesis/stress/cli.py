"""The command that tests a classifier."""

import typer

app = typer.Typer()
