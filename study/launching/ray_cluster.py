"""Getting Ray up: a cluster there is, or a local one of the study's own."""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from joblib import cpu_count

from study.diagnosing.limits import SOCKET_PATH, ray_folder, socket_path
from study.launching.local_rays import latest_ray, own_rays
from study.spec import StudySpec
from vae_core.errors import UserError

PATIENCE = 60.0
"""Seconds a cluster has to let a process of this machine in."""
LEAVE = 15.0
"""Seconds that disconnecting may take: a frozen head never answers."""
_KNOCK = 4.0  # seconds a host has to take a connection
_TRY = """
import os, sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
except Exception as error:
    sys.exit(print(error) or 1)  # warnings of Ray's go to stderr
print(os.environ.get("RAY_AUTH_MODE", ""), ray.get_runtime_context().gcs_address)
"""
_IS_OPEN = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_SHORT = ("/tmp", "/var/tmp")
"""Where Ray's files may go if the usual folder's path is too long."""
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


class AddressCheck:
    """Sees that a Ray cluster answers at ``address``, while its maker does something else.

    Ray itself waits minutes for one that is not there, and may end the process that asks. So the
    port is tried first, and then a process of its own connects, which ends with :meth:`close`.

    Args:
        address: None: there is nothing to see.
    """

    def __init__(self, address: str | None) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._found = None if address is None else self._thread.submit(self._check, address)

    def close(self) -> None:
        """End it, whether it has answered or not."""
        self._over.set()
        if self._process is not None:
            self._process.kill()
        self._thread.shutdown()

    def result(self) -> None:
        """Wait until it has answered, :data:`PATIENCE` at most.

        Raises:
            AddressError: none does.
        """
        if self._found is not None:
            self._found.result()

    def _check(self, address: str) -> None:
        address = _own(address)
        host, colon, port = address.rpartition(":")
        if colon and port.isdigit() and "/" not in host:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
            except (OSError, OverflowError) as error:
                raise _no_cluster(address, error) from error
        code, said, printed = self._asked(_TRY, address, address)
        if code:
            raise _no_cluster(address, said.strip(), printed)
        mode, _, served_at = said.strip().rpartition(" ")
        if mode == "token" and not self._asked(_IS_OPEN, served_at, address, mode="disabled")[0]:
            raise AddressError(
                f"the cluster at '{address}' runs without authentication, and this process has it "
                "on: no engine of it would start",
                where=_MODE,
                remedy=f"set {_MODE}=disabled here, or start every node of the cluster with "
                f"{_MODE}=token and one token",
            )

    def _asked(
        self, code: str, argument: str, address: str, *, mode: str | None = None
    ) -> tuple[int, str, str]:
        """How a process of its own ends that runs ``code``, and what it prints."""
        with subprocess.Popen(
            [sys.executable, "-c", code, argument],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ({} if mode is None else {_MODE: mode}),
        ) as process:
            self._process = process
            if self._over.is_set():
                process.kill()
            try:
                said, printed = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise _no_cluster(address, f"nothing within {PATIENCE:g} s") from error
        return process.returncode, said, printed


def check_address(address: str | None) -> None:
    """The same, waited for.

    Raises:
        AddressError: none does.
    """
    with closing(AddressCheck(address)) as check:
        check.result()


def _own(address: str) -> str:
    """``address``; for `auto` RAY_ADDRESS, or that of the user's own Ray on this machine.

    Ray's own `auto` may take another user's. As that does for what it finds, a token in the user's
    home turns authentication on.

    Raises:
        AddressError: there is none, or which is meant is not known.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address != "auto":
        return address
    own, latest = own_rays(), latest_ray()
    if latest not in own and len(own) != 1:
        raise AddressError(
            f"several Rays of yours run on this machine: {', '.join(own)}"
            if own
            else "no Ray of yours runs on this machine, and `auto` takes no other user's",
            where="--address",
            remedy="name one of them with --address"
            if own
            else "start one with `ray start`, or leave --address out to start a local Ray",
        )
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    return latest if latest in own else own[0]


def ray_up(address: str | None, spec: StudySpec, stack: ExitStack) -> None:
    """Connect to the cluster at ``address``, or start a local Ray; end it with ``stack``.

    Raises:
        AddressError: no cluster answers there.
        RayStartError: a local one does not start.
    """
    if address is not None:
        stack.enter_context(connected(address))
        return
    _set_quiet()
    import ray

    if not ray.is_initialized():  # the caller's own
        _start(spec, stack)
        stack.callback(ray.shutdown)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to the cluster at ``address``, or to the caller's own Ray.

    Raises:
        AddressError: no cluster answers there.
    """
    _set_quiet()
    import ray

    if ray.is_initialized():
        yield
        return
    address = _own(address)
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises several unrelated kinds
        raise _no_cluster(address, error) from error
    try:
        yield
    finally:
        _leave()


def _leave() -> None:
    """Disconnect from a cluster; the attempt is left behind where its head answers nothing."""
    import ray

    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(LEAVE)
    if leaving.is_alive():
        atexit.register(_end_process)  # the last registered is the first called


def _end_process() -> None:
    """End a process whose last calls, Ray's and Tune's at its exit, would wait without an end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(RayStartError.exit_code)


def _set_quiet() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def _start(spec: StudySpec, stack: ExitStack) -> None:
    """Start a local Ray; what it needs besides ends with ``stack``."""
    import ray

    count = spec.engines.count
    stack.enter_context(_token_of_its_own())
    folder = stack.enter_context(_usable_folder())
    # Ray's processes inherit it: a terminal that closes ends none before the study is suspended.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        ray.init(
            address="local",  # whatever RAY_ADDRESS says, and whatever else runs here
            num_cpus=max(cpu_count(), count if isinstance(count, int) else 1),
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
            _temp_dir=folder,
        )
    except Exception as error:  # a bare one where the machine is too busy to start it in time
        said = " ".join(str(error).split())
        raise RayStartError(
            f"Ray does not start on this machine: {said[:300]}",
            remedy="end what keeps the machine busy or fills its memory or disk (/tmp), and "
            "launch again",
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def _usable_folder() -> Iterator[str | None]:
    """A folder for Ray's files where its own choice is another user's, or too long for sockets.

    None: Ray's own choice will do.

    Raises:
        RayStartError: it will not, and no other folder can be written.
    """
    folder, long = ray_folder(), socket_path(ray_folder())
    if long > SOCKET_PATH:
        why = f"sockets below '{folder}' would have paths of {long} bytes, over {SOCKET_PATH}"
    elif not _writable(folder / "ray"):
        why = f"'{folder / 'ray'}' cannot be written"
    else:
        yield None
        return
    others = [other for other in _SHORT if os.access(other, os.W_OK)]
    if not others:
        raise RayStartError(
            f"Ray has no place for its files: {why}, and neither {' nor '.join(_SHORT)} can be "
            "written",
            where="TMPDIR",
            remedy="set RAY_TMPDIR to a folder with a short path that you may write",
        )
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=others[0], ignore_cleanup_errors=True
    ) as made:
        yield made


def _writable(folder: Path) -> bool:
    """Whether files can be put there; the folder itself need not be there."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(there, os.W_OK | os.X_OK)


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


def _no_cluster(address: str, why: object, log: str = "") -> AddressError:
    """What to raise where ``why`` is the reason given, and ``log`` what Ray printed besides."""
    said, all_said = " ".join((str(why) or log).split()), f"{why} {log}"
    if "InvalidAuthToken" in all_said or "no authentication token was found" in all_said:
        return AddressError(
            f"the cluster at '{address}' asks for a token, and this process has none or another",
            where=_TOKEN,
            remedy=f"set {_MODE}=token, and {_TOKEN} to what `ray get-auth-token` prints on its "
            "head",
        )
    if "Permission denied" in all_said:
        return AddressError(
            f"the node of '{address}' on this machine is another user's: Ray lets no process of "
            "yours write its log there",
            where="--address",
            remedy="launch as the user who started it, or leave --address out to start a local Ray",
        )
    return AddressError(
        f"no Ray cluster answers at '{address}': {said[:300]}",
        where="--address",
        remedy="check it with `ray status`, or leave --address out to start a local Ray",
    )
