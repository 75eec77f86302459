"""Getting Ray up: a cluster there is, or a local one of the study's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from study.spec import StudySpec
from vae_core.errors import UserError

PATIENCE = 60.0
"""Seconds a cluster has to let a process of this machine in."""
_KNOCK = 4.0  # seconds a host has to take a connection
_TRY = """
import sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
except Exception as error:
    sys.exit(f"{error}")
"""
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
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"nothing within {PATIENCE:g} s") from error
    if tried.returncode:
        raise _no_cluster(address, tried.stderr)


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
        try:
            ray.init(
                address="local",  # whatever RAY_ADDRESS says, and whatever else runs here
                num_cpus=max(os.cpu_count() or 1, count if isinstance(count, int) else 1),
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


def _no_cluster(address: str, why: object) -> AddressError:
    said = " ".join(str(why).split())
    return AddressError(
        f"no Ray cluster answers at '{address}': {said[:300]}",
        where="--address",
        remedy="check it with `ray status`, or leave --address out to start a local Ray",
    )
