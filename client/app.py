"""Flower entry point of a hospital: decode, act, encode."""

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.config import SiteConfig, load_site
from client.control.gate import why_closed
from client.delivery import deliver
from client.evidence.witness import take_witness, with_head
from client.plans.gate import why_not, why_not_delivered
from client.refused import NotTaken, disk_refusal
from client.rounds import answer
from client.statistics import answer_counts
from federation.event_log import log_events
from federation.logs import configure_logging
from federation.messages import Refusal, RefusalCode
from federation.processes import die_with_parent
from federation.strict_yaml import ConfigError
from federation.wire.counts import pack_counts, unpack_counts_request
from federation.wire.deliveries import pack_delivery, unpack_delivery_request
from federation.wire.header import ProtocolMismatch
from federation.wire.rounds import pack_answer, unpack_instruction

logger = logging.getLogger(__name__)

SITES_VARIABLE = "FEDCXR_SITES"
"""Under the simulation engine: the sites' profiles, in partition order, separated by ``os.pathsep``."""


def seal_errors(
    message: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    """Keep exception text inside the hospital: Flower would send it to the coordinator."""
    configure_logging()
    try:
        return call_next(message, context)
    except ProtocolMismatch as err:
        refusal = Refusal(code=RefusalCode.PROTOCOL, reason=str(err))
    except NotTaken as err:
        refusal = err.refusal
    except Exception as err:
        reference = uuid.uuid4().hex[:8]
        logger.exception("answer failed, reference %s", reference)
        reason = f"internal error at the hospital, reference {reference} in its log"
        refusal = disk_refusal(err) or Refusal(code=RefusalCode.INTERNAL, reason=reason)
    return Message(pack_answer(refusal), reply_to=message)


app = ClientApp(mods=[seal_errors])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one instruction with one update, or with the reason for none."""
    die_with_parent()
    site, instruction = opened(context), unpack_instruction(message.content)
    take_witness(site, instruction)
    closed = why_closed(site, instruction.study_digest)
    reply = closed or why_not(site, instruction) or answer(site, instruction)
    return Message(pack_answer(with_head(site, reply)), reply_to=message)


@app.query("deliver")
def delivery(message: Message, context: Context) -> Message:
    """Leave shards of a finished update where the coordinator asks for them, or say why not."""
    die_with_parent()
    site = opened(context)
    request = unpack_delivery_request(message.content)
    closed = why_closed(site, request.study_digest)
    reply = closed or why_not_delivered(site, request) or deliver(site, request)
    return Message(pack_delivery(reply), reply_to=message)


@app.query("counts")
def counts(message: Message, context: Context) -> Message:
    """Answer one request for counts with a table, or with the reason for none."""
    die_with_parent()
    site = opened(context)
    request = unpack_counts_request(message.content)
    return Message(pack_counts(answer_counts(site, request), request), reply_to=message)


@app.query("name")
def name(message: Message, context: Context) -> Message:
    """Say which hospital this is; only the simulation engine has nodes without a name."""
    site_name = load_site(site_path(context)).site_name
    return Message(RecordDict({"site": ConfigRecord({"name": site_name})}), reply_to=message)


def opened(context: Context) -> SiteConfig:
    """The profile that this process works for, and its log of events.

    Raises:
        NotTaken: the profile cannot be used as it is now.
    """
    try:
        site = load_site(site_path(context))
    except ConfigError as err:
        logger.warning("nothing is answered: %s", err)
        reason = "the hospital's profile cannot be used as it is now: its data manager types `fedcxr doctor`"
        raise NotTaken(RefusalCode.PAUSED, reason) from err
    log_events(site.state_path / "logs", side="hospital", site=site.site_name)
    return site


def site_path(context: Context) -> Path:
    """The profile that this process works for."""
    if "site" in context.node_config:
        return Path(str(context.node_config["site"]))
    partition = int(context.node_config["partition-id"])
    return Path(os.environ[SITES_VARIABLE].split(os.pathsep)[partition])
