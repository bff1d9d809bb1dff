"""Who answers at the coordinator's address: the certificate, who signed it, and for how long it holds."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from client.doctor.hospital import Hospital
from client.doctor.network import BEFORE_THE_PORT, CANNOT_BE_SEEN
from client.enrolment.certificate import read_certificate
from federation.certificate_days import authorities_in, of_days
from federation.diagnosis import Finding, Job, fail, ok, skipped, warn
from federation.enrolment import CERTIFICATE_NAME, Refused, site_of, why_refused
from federation.signing import SigningKeyUnusable, load_private, public_pem
from federation.visit import OF_CERTIFICATE, Trouble

NODE_KEY_NAME = "node.key"
MAX_LETTERS = 60
"""Of a name in somebody else's certificate."""
TIME_TROUBLES = frozenset({Trouble.EXPIRED, Trouble.NOT_YET_VALID})


def tls(hospital: Hospital) -> Finding:
    """Is what answers the coordinator that this hospital trusts?"""
    visit = hospital.visit()
    if visit.trouble in BEFORE_THE_PORT:
        return skipped(CANNOT_BE_SEEN)
    if visit.trouble in OF_CERTIFICATE:
        return _untrusted(hospital, visit.trouble)
    if visit.trouble is Trouble.CUT:
        return fail(
            "the line is cut while keys are agreed on",
            Job.NETWORK,
            f"see whether a firewall ends TLS towards {hospital.host}, and exempt it",
        )
    if visit.trouble is Trouble.NOT_TLS:
        return fail(
            f"what answers at port {hospital.port} does not speak TLS as this program does",
            Job.COORDINATOR,
            "compare the port with the one that `fedcxr coordinator status` shows",
        )
    if visit.tls_version != "TLSv1.3":
        return warn(
            f"the line speaks {visit.tls_version}, not TLS 1.3",
            Job.NETWORK,
            "see what between the hospital and the coordinator speaks an older TLS, and exempt the host",
        )
    return ok(f"the certificate is accepted, the line speaks {visit.tls_version}")


def interception(hospital: Hospital) -> Finding:
    """Does something between here and there open TLS and sign it anew?"""
    visit = hospital.visit()
    if visit.certificate is None:
        return skipped(CANNOT_BE_SEEN)
    if visit.trouble is not Trouble.WRONG_AUTHORITY:
        return ok("the certificate comes from the authority in ca_path: nobody opens the line")
    pinned = authorities_in(hospital.site.ca_path)
    if not pinned:
        return skipped("cannot be seen without the authority in ca_path")
    if any(authority.subject == visit.certificate.issuer for authority in pinned):
        return fail(
            f"the certificate is signed by an authority of the same name as the one in ca_path, with another key "
            f"(the pinned one is {_fingerprint(pinned[0])})",
            Job.COORDINATOR,
            "read out the fingerprint of the authority; if it is a new one, hand its certificate out again",
        )
    return fail(
        f'the certificate is signed by "{_issuer(visit.certificate)}", not by the authority in ca_path: something in '
        "between opens the line",
        Job.NETWORK,
        f"exempt {hospital.host}:{hospital.port} from TLS inspection",
    )


def certificate_days(hospital: Hospital) -> Finding:
    """For how long does the coordinator's certificate hold?"""
    visit = hospital.visit()
    if visit.certificate is None:
        return skipped(CANNOT_BE_SEEN)
    return of_days(
        "the coordinator's certificate",
        visit.certificate,
        Job.COORDINATOR,
        "type: fedcxr coordinator up (it renews the certificate, also while it runs)",
    )


def authority_days(hospital: Hospital) -> Finding:
    """For how long does the authority that is pinned hold?"""
    path = hospital.site.ca_path
    if not path.is_file():
        return fail(
            f"{path} (ca_path) is not there: the coordinator cannot be recognised",
            Job.COORDINATOR,
            "hand the authority's certificate out, or invite the hospital: fedcxr coordinator invite",
        )
    found = authorities_in(path)
    if not found:
        return fail(f"{path} (ca_path) holds no certificate", *_again())
    last = max(found, key=lambda each: each.not_valid_after_utc)
    return of_days("the authority in ca_path", last, *_again())


def own_certificate(hospital: Hospital) -> Finding:
    """Does this hospital's own certificate count, and for how long?"""
    state, authorities = hospital.site.state_path, authorities_in(hospital.site.ca_path)
    shown = read_certificate(state / CERTIFICATE_NAME)
    if shown is None or not authorities:
        return skipped("this hospital has no certificate: the coordinator has its key by hand")
    try:
        public_key = public_pem(load_private(state / NODE_KEY_NAME))
    except SigningKeyUnusable as err:
        return fail(str(err), Job.DATA_MANAGER, "restore the state folder from a backup")
    refused = why_refused(shown, issuers=authorities, public_key=public_key, now=datetime.now(UTC))
    invite = (Job.COORDINATOR, f'type: fedcxr coordinator invite "{hospital.site.site_name}"')
    if refused is not None and refused not in {Refused.EXPIRED, Refused.NOT_YET_VALID}:
        return fail(f"this hospital's certificate does not count here ({refused})", *invite)
    if site_of(shown) != hospital.site.site_name:
        return fail("this hospital's certificate is for another name than site_name", *invite)
    return of_days("this hospital's certificate", shown, *invite)


def _untrusted(hospital: Hospital, trouble: Trouble) -> Finding:
    visit = hospital.visit()
    if (
        trouble in TIME_TROUBLES
        and visit.seconds_ahead is not None
        and _is_far(visit.seconds_ahead)
    ):
        return fail(
            f"{trouble}, as this machine's clock has it, which is not the coordinator's",
            Job.MACHINE,
            "type: timedatectl set-ntp true",
        )
    if trouble is Trouble.WRONG_NAME:
        return fail(
            f"the certificate is not for {hospital.host}",
            Job.COORDINATOR,
            f"type: fedcxr coordinator up --name {hospital.host}; or correct `coordinator` in the profile",
        )
    if trouble in TIME_TROUBLES:
        return fail(str(trouble), Job.COORDINATOR, "type: fedcxr coordinator up, which renews it")
    return fail(
        f"{trouble}, or it is not what ca_path vouches for",
        Job.COORDINATOR,
        "hand the authority's current certificate out; see also the check `interception`",
    )


def _is_far(seconds: float) -> bool:
    return abs(seconds) > 3600


def _again() -> tuple[Job, str]:
    return Job.COORDINATOR, "hand the authority's current certificate out again"


def _issuer(certificate: x509.Certificate) -> str:
    """Whoever signed, in letters that do no harm to a terminal."""
    names = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    shown = str(names[0].value) if names else certificate.issuer.rfc4514_string()
    return "".join(letter if letter.isprintable() else "?" for letter in shown)[:MAX_LETTERS]


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()[:16]
