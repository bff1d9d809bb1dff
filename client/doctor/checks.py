"""Everything that is asked of a hospital, in the order in which it is told: outwards in, from the line to the ledger."""

from client.doctor import (
    certificates,
    coordinator,
    data,
    forecast,
    giving,
    keeping,
    machine,
    network,
    privacy,
    settings,
    sources,
    trust,
)
from client.doctor.hospital import Hospital
from federation.diagnosis import Check

SLOW_SECONDS = 25.0
"""Of checks that start processes, or torch."""

CHECKS: tuple[Check[Hospital], ...] = (
    Check(name="name", look=network.name),
    Check(name="proxy", look=network.proxy),
    Check(name="port", look=network.port),
    Check(name="tls", look=certificates.tls),
    Check(name="interception", look=certificates.interception),
    Check(name="certificate", look=certificates.certificate_days),
    Check(name="authority", look=certificates.authority_days),
    Check(name="own-certificate", look=certificates.own_certificate),
    Check(name="clock", look=coordinator.clock),
    Check(name="health", look=coordinator.health),
    Check(name="protocol", look=coordinator.protocol),
    Check(name="bandwidth", look=coordinator.bandwidth),
    Check(name="node", look=coordinator.node),
    Check(name="disk", look=machine.disk, seconds=SLOW_SECONDS),
    Check(name="quota", look=giving.quota, seconds=SLOW_SECONDS),
    Check(name="shared-memory", look=machine.shared_memory),
    Check(name="memory", look=machine.memory, seconds=SLOW_SECONDS),
    Check(name="gpu", look=machine.gpu, seconds=SLOW_SECONDS),
    Check(name="processors", look=machine.processors),
    Check(name="quiet-hours", look=giving.quiet_hours),
    Check(name="orders", look=giving.orders),
    Check(name="environment", look=settings.environment),
    Check(name="state-folder", look=keeping.state_folder),
    Check(name="named-files", look=data.named_files),
    Check(name="data-mount", look=data.data_mount),
    Check(name="pacs", look=sources.pacs),
    Check(name="receiver", look=sources.receiver),
    Check(name="decoders", look=data.decoders),
    Check(name="sample-read", look=data.sample_read, seconds=SLOW_SECONDS),
    Check(name="cache", look=keeping.cache),
    Check(name="cache-age", look=keeping.freshness),
    Check(name="policy", look=privacy.policy),
    Check(name="ledger", look=privacy.ledger),
    Check(name="evidence", look=trust.evidence),
    Check(name="authority-key", look=trust.authority_key),
    Check(name="plan", look=trust.plan),
    Check(name="code", look=trust.code),
    Check(name="round-time", look=forecast.round_time, seconds=SLOW_SECONDS),
)
