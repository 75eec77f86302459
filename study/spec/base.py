"""What the sections of a study file share."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from study.spec.distributions import number, whole
from study.spec.errors import fault, shown

Number = Annotated[float, BeforeValidator(number)]
Whole = Annotated[int, BeforeValidator(whole)]


class Section(BaseModel):
    """A mapping of the file with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Named(Section):
    """A section whose ``name`` is looked up and whose other keys are that entry's settings.

    A bare string is the name.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="its name")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _plain(self) -> Self:
        for key, value in self.extras.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                remedy = "give a finite number, text, true/false, or a list or mapping of them"
                raise fault(f"{shown(value)} cannot be a setting", remedy, key) from None
        return self

    @property
    def extras(self) -> dict[str, Any]:
        """The settings beside the declared ones."""
        return dict(self.model_extra or {})
