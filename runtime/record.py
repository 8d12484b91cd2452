"""The base of everything that is measured and written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A result: fixed keys, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")
