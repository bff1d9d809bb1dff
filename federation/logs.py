"""Log lines for the person on call: one format, set once per process."""

import logging


def configure_logging() -> None:
    """Show this project's log lines; Flower configures only its own logger."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=False
    )
    for package in ("client", "server", "federation", "model", "simulation", "synthesis"):
        logging.getLogger(package).setLevel(logging.INFO)
