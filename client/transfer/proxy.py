"""The proxy for the way out: the profile's, or the environment's (HTTPS_PROXY, ALL_PROXY); NO_PROXY counts for both."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from client.transfer.refusals import ProxyUnusable


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """Who is asked to CONNECT."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """May hold a password."""


def proxy_towards(host: str, port: int, *, profile: str | None = None) -> Proxy | None:
    """The proxy for TLS connections to this host; None for the direct way.

    Args:
        host: who is to be reached in the end.
        port: and where.
        profile: what the hospital's profile names as its proxy.

    Raises:
        ProxyUnusable: if the environment names one that is not reached by plain HTTP.
    """
    proxies = getproxies()
    address = profile or proxies.get("https") or proxies.get("all")
    if not address or proxy_bypass(f"{host}:{port}"):
        return None
    try:
        url = urlsplit(address if "://" in address else f"http://{address}")
        port_of_proxy = url.port or 80
    except ValueError as err:
        raise ProxyUnusable from err
    if url.scheme != "http" or not url.hostname:
        raise ProxyUnusable
    return Proxy(host=url.hostname, port=port_of_proxy, headers=_credentials(url))


def proxy_environment(profile: str | None) -> dict[str, str]:
    """What tells another program of the profile's proxy; nothing if there is none."""
    return dict.fromkeys(("HTTPS_PROXY", "https_proxy"), profile) if profile else {}


def _credentials(url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
