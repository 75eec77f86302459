"""Studies of what tuning beta costs against balancers that set it themselves.

``launch``, ``resume``, ``report`` and ``load`` are the command line's verbs as functions. They are
imported on first use: the processes that only relay a trial's reports stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import launch, load, report, resume

__all__ = ["launch", "load", "report", "resume"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import study.api

        return getattr(study.api, name)
    raise AttributeError(f"module 'study' has no attribute '{name}'")
