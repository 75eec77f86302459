"""Studies of what tuning beta costs, compared with balancers that set it themselves.

The functions are the command line's verbs. They are imported on first use: the process that only
relays reports must stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import *  # noqa: F403

    __version__: str

__all__ = [  # noqa: F405
    "StudyWarning",
    "UserError",
    "clean",
    "compare",
    "doctor",
    "dry_run",
    "export",
    "fork",
    "init",
    "launch",
    "load",
    "plan",
    "replay",
    "report",
    "resume",
    "retry",
    "status",
    "stop",
    "storage",
    "studies",
    "verify",
]
"""Every public name: functions of :mod:`study.api`, and what they raise and warn of."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        import study.api

        return getattr(study.api, name)
    if name == "__version__":
        from study.package import version

        return version()
    raise AttributeError(f"module 'study' has no attribute '{name}'")
