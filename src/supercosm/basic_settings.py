"""What all sections of the configuration have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every section: unknown keys are errors and values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
