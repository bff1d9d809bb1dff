"""The commands of the label model."""

import typer

app = typer.Typer()
