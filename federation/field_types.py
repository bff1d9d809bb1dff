"""The kinds of values that configuration files hold, each with its limits."""

from typing import Annotated

from pydantic import Field

SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Positive = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Address = Annotated[str, Field(pattern=r"^[^:/\s]+:\d{1,5}$")]
ProxyAddress = Annotated[str, Field(pattern=r"^http://[^\s/@:]+:\d{1,5}$")]
Port = Annotated[int, Field(gt=0, lt=65536)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
AeTitle = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,16}$")]
