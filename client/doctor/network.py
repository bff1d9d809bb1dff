"""The way to the coordinator: its name, the proxy, its port."""

from client.doctor.hospital import Hospital
from client.transfer.proxy import proxy_towards
from client.transfer.refusals import ProxyUnusable
from federation.diagnosis import Finding, Job, fail, ok, skipped
from federation.visit import Trouble

CANNOT_BE_SEEN = "cannot be seen until the coordinator's port is reached"
OF_THE_PROXY = frozenset({Trouble.PROXY_PORT, Trouble.PROXY_REFUSES})
BEFORE_THE_PORT = OF_THE_PROXY | frozenset(
    {
        Trouble.NAME,
        Trouble.REFUSED,
        Trouble.SILENT,
        Trouble.UNREACHABLE,
    }
)


def name(hospital: Hospital) -> Finding:
    """Does the coordinator's name lead to an address?"""
    visit = hospital.visit()
    if visit.trouble is Trouble.NAME:
        return fail(
            f"{hospital.host} is not known to this machine's name server",
            Job.NETWORK,
            f"compare the name with the coordinator's operator, then type: getent hosts {hospital.host}",
        )
    if visit.proxy_status or visit.trouble in OF_THE_PROXY:
        return skipped("names are looked up by the proxy")
    return ok(f"{hospital.host} has {visit.num_addresses} address(es)")


def proxy(hospital: Hospital) -> Finding:
    """Does the proxy, if there has to be one, let this machine through?"""
    try:
        way = proxy_towards_coordinator(hospital)
    except ProxyUnusable as err:
        return fail(
            str(err), Job.NETWORK, "set proxy in the profile, or HTTPS_PROXY, to http://host:port"
        )
    if way is None:
        return ok("none is prescribed: the direct way is taken")
    visit, shown = hospital.visit(), f"the proxy {way[0]}:{way[1]}"
    if visit.trouble is Trouble.PROXY_PORT:
        return fail(
            f"{shown} cannot be reached",
            Job.NETWORK,
            "say which proxy leads out; `proxy` in the profile, or HTTPS_PROXY, names it",
        )
    if visit.trouble is Trouble.PROXY_REFUSES:
        return _refusing(hospital, shown, visit.proxy_status)
    return ok(f"{shown} lets this machine through")


def port(hospital: Hospital) -> Finding:
    """Can the coordinator's public port be reached?"""
    visit, shown = hospital.visit(), f"{hospital.host}:{hospital.port}"
    if visit.trouble is Trouble.REFUSED:
        return fail(
            f"nobody listens on {shown}",
            Job.COORDINATOR,
            "type: fedcxr coordinator up; and compare the port with the hospital's profile",
        )
    if visit.trouble in {Trouble.SILENT, Trouble.UNREACHABLE}:
        return fail(
            f"{shown} does not answer ({visit.trouble})",
            Job.NETWORK,
            f"let this machine open TCP connections to {shown} (outbound alone; nothing has to come in)",
        )
    if visit.connect_seconds is None or visit.trouble in OF_THE_PROXY:
        return skipped("cannot be seen until the name and the proxy are in order")
    return ok(f"{shown} answers in {1000 * visit.connect_seconds:.0f} ms")


def proxy_towards_coordinator(hospital: Hospital) -> tuple[str, int] | None:
    """Host and port of the proxy; None for the direct way.

    Raises:
        ProxyUnusable: if the one that is prescribed is of another kind.
    """
    found = proxy_towards(hospital.host, hospital.port, profile=hospital.site.proxy)
    return (found.host, found.port) if found else None


def _refusing(hospital: Hospital, shown: str, status: int | None) -> Finding:
    target = f"{hospital.host}:{hospital.port}"
    if status == 407:
        return fail(
            f"{shown} asks for a name and a password (407)",
            Job.NETWORK,
            "exempt this machine, or give an account for HTTPS_PROXY=http://name:password@host:port",
        )
    answer = f"answers {status}" if status else "gives no answer that is HTTP"
    return fail(
        f"{shown} does not let this machine through to {target} ({answer})",
        Job.NETWORK,
        f"allow CONNECT from this machine to {target}",
    )
