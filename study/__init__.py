"""Studies of what tuning beta costs against balancers that set it themselves.

The functions are the command line's verbs. They are imported on first use: the process that only
relays reports stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import (
        clean,
        export,
        fork,
        launch,
        load,
        replay,
        report,
        resume,
        retry,
        stop,
        storage,
        together,
        verify,
    )

__all__ = [
    "clean",
    "export",
    "fork",
    "launch",
    "load",
    "replay",
    "report",
    "resume",
    "retry",
    "stop",
    "storage",
    "together",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import study.api

        return getattr(study.api, name)
    raise AttributeError(f"module 'study' has no attribute '{name}'")
