"""Libraries whose log lines and warnings quote identifiers say nothing in this process."""

import logging
import warnings


def keep_quiet(*libraries: str) -> None:
    """Silence libraries for good; the text of what they raise must be kept from people as well."""
    for library in libraries:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
