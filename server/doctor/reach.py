"""Whether hospitals reach this coordinator, and nobody reaches what is behind it."""

import socket

import psutil

from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.visit import OF_CERTIFICATE
from server.doctor.coordinator import Coordinator

NOT_RUNNING = "the coordinator is not running"


def running(coordinator: Coordinator) -> Finding:
    """Does it run?"""
    if coordinator.endpoint is None:
        return fail(
            f"{NOT_RUNNING}: no hospital can connect",
            Job.COORDINATOR,
            f"type: fedcxr coordinator up --state {coordinator.state}",
        )
    return ok(f"the coordinator runs since {coordinator.endpoint.started}")


def port(coordinator: Coordinator) -> Finding:
    """Does the public port answer, as the coordinator that hospitals trust?"""
    endpoint, visit = coordinator.endpoint, coordinator.visit()
    if endpoint is None:
        return skipped(NOT_RUNNING)
    shown = f"the public port {endpoint.host}:{endpoint.port}"
    do = f"read {coordinator.state / 'logs' / 'gateway.log'}, then start the coordinator anew"
    if visit.trouble in OF_CERTIFICATE:
        return fail(
            f"{shown} is not trusted by its own authority: {visit.trouble}", Job.COORDINATOR, do
        )
    if visit.trouble is not None:
        return fail(f"{shown} does not answer: {visit.trouble}", Job.COORDINATOR, do)
    if visit.tls_version != "TLSv1.3":
        return warn(f"{shown} speaks {visit.tls_version}, not TLS 1.3", Job.MACHINE, do)
    return ok(f"{shown} answers with its own certificate, over {visit.tls_version}")


def health(coordinator: Coordinator) -> Finding:
    """Is the SuperLink behind the port well?"""
    if coordinator.endpoint is None:
        return skipped(NOT_RUNNING)
    status = coordinator.visit().status
    if status is None:
        return skipped("cannot be seen until the public port answers")
    if status != 200:
        return fail(
            f"what is behind the public port is not well ({status})",
            Job.COORDINATOR,
            f"read {coordinator.state / 'logs' / 'superlink.log'}; it is started anew by itself",
        )
    return ok("what is behind the public port is well")


def loopback(coordinator: Coordinator) -> Finding:
    """Is the port that takes orders shut to other machines?"""
    endpoint = coordinator.endpoint
    if endpoint is None:
        return skipped(NOT_RUNNING)
    try:
        listening = {
            each.laddr.ip
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
            and each.laddr
            and each.laddr.port == endpoint.control_port
        }
    except psutil.AccessDenied:
        return skipped("this user may not see which addresses are listened on")
    if listening - {"127.0.0.1", "::1"}:
        return fail(
            f"port {endpoint.control_port}, which takes orders, is open to other machines",
            Job.MACHINE,
            "stop the coordinator, shut that port in the firewall, and report this line to the makers of the program",
        )
    return ok("the port that takes orders is on loopback alone")


def name(coordinator: Coordinator) -> Finding:
    """Does the name that hospitals were told lead somewhere?"""
    opening = coordinator.opening
    if opening is None:
        return warn(
            "hospitals were told no name yet",
            Job.COORDINATOR,
            f"type: fedcxr coordinator init --host NAME --state {coordinator.state}",
        )
    try:
        found = socket.getaddrinfo(opening.host, opening.port, type=socket.SOCK_STREAM)
    except OSError:
        return fail(
            f"{opening.host}, which hospitals were told, is not known to this machine's name server",
            Job.NETWORK,
            f"enter it; then type: getent hosts {opening.host}",
        )
    if coordinator.endpoint and coordinator.endpoint.port != opening.port:
        return fail(
            f"hospitals were told port {opening.port}, the coordinator listens on {coordinator.endpoint.port}",
            Job.COORDINATOR,
            "start the coordinator anew without --port",
        )
    return ok(f"{opening.address} has {len({each[4][0] for each in found})} address(es)")
