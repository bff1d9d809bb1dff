"""A running hospital keeps to the limits of its profile, looked at again whenever that file changes.

A profile that cannot be used changes nothing.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.config import SiteConfig, load_site
from client.control.limits import put_into_force
from federation.strict_yaml import ConfigError

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


class Following:
    """Looks at a profile again and again."""

    def __init__(self, site: SiteConfig, site_path: Path) -> None:
        self._state_path, self._site_path = site.state_path, site_path
        self._stamp: _Stamp = None
        """Of the file when it was read last."""
        self._limits = site.limits
        put_into_force(site.state_path, site.limits)

    def look(self) -> None:
        """Put the profile's limits into force if it has changed; takes microseconds if it has not."""
        stamp = _stamp_of(self._site_path)
        if stamp in {None, self._stamp}:  # none: an editor is just about to put it back
            return
        self._stamp = stamp
        try:
            limits = load_site(self._site_path).limits
        except ConfigError as err:
            logger.warning("the profile has changed, and its old limits stay in force: %s", err)
            return
        if limits != self._limits:
            put_into_force(self._state_path, limits)
            self._limits = limits
            logger.info("the profile has changed, and its new limits are in force")


@contextmanager
def following(site: SiteConfig, site_path: Path) -> Iterator[Following]:
    """Keep the limits of a profile in force meanwhile.

    Args:
        site: What the profile said when it was read.
        site_path: The profile.
    """
    try:
        yield Following(site, site_path)
    finally:
        put_into_force(site.state_path, None)


def _stamp_of(path: Path) -> _Stamp:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
