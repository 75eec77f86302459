"""Getting Ray up: a cluster there is, or a local one of the study's own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from joblib import cpu_count

from study.spec import StudySpec
from vae_core.errors import UserError

PATIENCE = 60.0
"""Seconds a cluster has to let a process of this machine in."""
_KNOCK = 4.0  # seconds a host has to take a connection
_TRY = """
import os, sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
except Exception as error:
    sys.exit(f"{error}")
print(os.environ.get("RAY_AUTH_MODE", ""), ray.get_runtime_context().gcs_address)
"""
_IS_OPEN = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
}


class AddressError(UserError):
    """A Ray cluster that cannot be reached."""


class RayStartError(UserError):
    """A local Ray that does not start."""

    exit_code = 1


def check_address(address: str) -> None:
    """See that a Ray cluster answers at ``address``, within :data:`PATIENCE`.

    Ray itself waits minutes for one that is not there, and may end the process that asks. So the
    port is tried first, and then a process of its own connects.

    Raises:
        AddressError: none does.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error
    tried = _asked(_TRY, address, address)
    if tried.returncode:
        raise _no_cluster(address, tried.stderr)
    mode, _, served_at = tried.stdout.strip().rpartition(" ")
    if mode == "token" and not _asked(_IS_OPEN, served_at, address, mode="disabled").returncode:
        raise AddressError(
            f"the cluster at '{address}' runs without authentication, and this process has it on: "
            "no engine of it would start",
            where=_MODE,
            remedy=f"set {_MODE}=disabled here, or start every node of the cluster with "
            f"{_MODE}=token and one token",
        )


def _asked(
    code: str, argument: str, address: str, *, mode: str | None = None
) -> subprocess.CompletedProcess[str]:
    """What a process of its own says that runs ``code``, in an authentication ``mode``."""
    try:
        return subprocess.run(
            [sys.executable, "-c", code, argument],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=os.environ | ({} if mode is None else {_MODE: mode}),
        )
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"nothing within {PATIENCE:g} s") from error


def ray_up(address: str | None, spec: StudySpec, stack: ExitStack) -> None:
    """Connect to the cluster at ``address``, or start a local Ray; end it with ``stack``.

    Raises:
        AddressError: no cluster answers there.
        RayStartError: a local one does not start.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():  # the caller's own
        return
    if address is not None:
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        except Exception as error:  # Ray raises several unrelated kinds
            raise _no_cluster(address, error) from error
    else:
        # A local Ray's control store is never restarted: do not wait a minute for it.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
        count = spec.engines.count
        stack.enter_context(_token_of_its_own())
        try:
            ray.init(
                address="local",  # whatever RAY_ADDRESS says, and whatever else runs here
                num_cpus=max(cpu_count(), count if isinstance(count, int) else 1),
                include_dashboard=False,
                logging_level="ERROR",
                log_to_driver=False,
            )
        except Exception as error:  # a bare one where the machine is too busy to start it in time
            said = " ".join(str(error).split())
            raise RayStartError(
                f"Ray does not start on this machine: {said[:300]}",
                remedy="end what keeps the machine busy or fills its memory or disk (/tmp), and "
                "launch again",
            ) from error
    stack.callback(ray.shutdown)


@contextmanager
def _token_of_its_own() -> Iterator[None]:
    """Give a local Ray a token in the environment, unless the user has given one or another mode.

    Without one Ray 2.60 writes a token into the user's home (`ray/_private/authentication/
    authentication_token_setup.py`), and every cluster that is later started or looked for from
    there would be taken to need it.
    """
    mode = os.environ.get(_MODE)
    if mode not in (None, "token") or _TOKEN in os.environ or _TOKEN_FILE in os.environ:
        yield
        return
    from ray._private.authentication.authentication_token_setup import (
        AuthenticationTokenLoader,
        Config,
    )

    os.environ[_TOKEN] = secrets.token_hex(32)
    Config.initialize("")  # Ray keeps mode and token beside the environment
    try:
        yield
    finally:  # Ray has set the mode
        del os.environ[_TOKEN]
        if mode is None:
            os.environ.pop(_MODE, None)
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _no_cluster(address: str, why: object) -> AddressError:
    said = " ".join(str(why).split())
    if "InvalidAuthToken" in said or "no authentication token was found" in said:
        return AddressError(
            f"the cluster at '{address}' asks for a token, and this process has none or another",
            where=_TOKEN,
            remedy=f"set {_MODE}=token, and {_TOKEN} to what `ray get-auth-token` prints on its "
            "head",
        )
    return AddressError(
        f"no Ray cluster answers at '{address}': {said[:300]}",
        where="--address",
        remedy="check it with `ray status`, or leave --address out to start a local Ray",
    )
