"""What needs torch before a study begins, done in a process of its own.

Models and balancers are looked up and tried with torch, which takes seconds to import, and half a
gigabyte that a driver would hold to its end. Meanwhile the driver loads what it needs itself.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from vae_core.errors import UserError
from vae_core.workers import Worker

P = ParamSpec("P")
R = TypeVar("R")


class CoreProcess:
    """The process: called with a function and its arguments, it returns or raises what that does.

    Functions, arguments and results go there and back pickled. Where this process has torch
    already, as a notebook's may, the function is called here.
    """

    def __init__(self) -> None:
        self._worker = None if "torch" in sys.modules else Worker(_called, "tries models")
        self._thread = ThreadPoolExecutor(1)
        if self._worker is not None:  # it loads the core while it has nothing else to do
            self._thread.submit(self._worker, _load)

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        job = partial(function, *args, **kwargs)
        if self._worker is None:
            return job()
        result: R = self._thread.submit(self._worker, job).result()
        return result

    def close(self) -> None:
        """End it, whatever it is doing."""
        if self._worker is not None:
            self._worker.kill()
        self._thread.shutdown()
        if self._worker is not None:
            self._worker.close()


def _load() -> None:
    for package in ("vae_core.models", "vae_core.balancers", "study.spec"):
        import_module(package)


def _called(job: Callable[[], Any]) -> Any:
    """What ``job`` returns; what it raises has its traceback, unless it is a user's error."""
    try:
        return job()
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"raised in another process:\n{traceback.format_exc()}")
        raise
