"""Variables of the environment that look like settings and are none: a typing mistake must not go unnoticed."""

import os

from client.config import SiteConfig
from client.doctor.hospital import Hospital
from federation.config import StudyConfig
from federation.diagnosis import Finding, Job, ok, warn
from federation.layers import unknown_variables


def environment(hospital: Hospital) -> Finding:
    """Does every FEDCXR_ variable mean something?"""
    del hospital
    unknown = unknown_variables(os.environ, (SiteConfig, StudyConfig))
    if unknown:
        return warn(
            f"nothing reads {', '.join(unknown)}",
            Job.DATA_MANAGER,
            "type: fedcxr config show --origin; and mend the variable's name",
        )
    return ok("every FEDCXR_ variable is one that is read")
