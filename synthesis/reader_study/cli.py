"""The commands of the reader study."""

import typer

app = typer.Typer()
