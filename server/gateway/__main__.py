"""``python -m server.gateway``: the coordinator's one public port as a process."""

import argparse
import logging
import sys
from pathlib import Path

from federation.event_log import log_events
from federation.processes import die_with_parent
from federation.strict_yaml import ConfigError
from server.gateway.serving import GatewaySettings, run_gateway


def _parse_settings() -> GatewaySettings:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--upstream-port", required=True, type=int)
    parser.add_argument("--cert", required=True, type=Path, dest="cert_path")
    parser.add_argument("--key", required=True, type=Path, dest="key_path")
    parser.add_argument("--ca", required=True, type=Path, dest="ca_path")
    parser.add_argument("--state", required=True, type=Path, dest="state_path")
    parser.add_argument("--roster", type=Path, dest="roster_path")
    options = parser.parse_args()
    options.roster_path = options.roster_path or options.state_path / "roster"
    return GatewaySettings(**vars(options))


def _configure_logging(state_path: Path) -> None:
    """Warnings to the output; what happens besides to the file of events alone, which does not grow for ever."""
    output = logging.StreamHandler()
    output.setLevel(logging.WARNING)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[output],
    )
    logging.getLogger("server").setLevel(logging.INFO)
    log_events(state_path / "logs", side="coordinator")


if __name__ == "__main__":
    die_with_parent()
    settings = _parse_settings()
    _configure_logging(settings.state_path)
    try:
        run_gateway(settings)
    except ConfigError as err:
        logging.getLogger("server.gateway").error("%s", err)  # noqa: TRY400  a sentence, no trace
        sys.exit(2)
