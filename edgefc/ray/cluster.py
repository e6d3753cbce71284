"""Ray for one command: the cluster of RAY_ADDRESS, or one on this machine that ends with the command."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from edgefc.errors import EngineClosedError, ModelLoadError, RequestError

OBJECT_STORE = 128 << 20  # bytes; only long bodies of requests pass through it
# macOS allows 103 bytes for a socket's name, Linux 107; /edgefc-ray-…/session_…/sockets/plasma_store has 84.
LONGEST_FOLDER = 103 - 84
END_S = 5.0  # until a process of a Ray that has been stopped is killed
_ERROR = re.compile(r"^edgefc\.errors\.\w+: (.+)", re.MULTILINE | re.DOTALL)
CONTROLLER, NAMESPACE = "SERVE_CONTROLLER_ACTOR", "serve"


@contextlib.contextmanager
def cluster(cores: int) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start Ray on this machine with `cores` to share, until the context ends.

    Raises EngineClosedError if there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in ("ray", "ray.serve", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    address = os.environ.get("RAY_ADDRESS")
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        if address is not None:
            options: dict[str, Any] = {"address": address}
        else:
            # Ray's own ports listen on all interfaces: only processes that know the token are answered.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            temporary = tempfile.TemporaryDirectory(
                prefix="edgefc-ray-", dir=_short_folder(), ignore_cleanup_errors=True
            )
            folder = stack.enter_context(temporary)
            stack.callback(_end_all, {process.pid for process in psutil.Process().children()})
            options = {"address": "local", "num_cpus": cores, "object_store_memory": OBJECT_STORE,
                       "include_dashboard": False, "_temp_dir": folder}  # fmt: skip
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR, namespace=NAMESPACE)
        except ConnectionError as error:
            first = str(error).partition("\n")[0]
            hint = "Correct RAY_ADDRESS, or unset it to start Ray on this machine."
            raise EngineClosedError(f"no Ray at {address}: {first}", hint) from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _exit)  # Ray has a handler of its own, which aborts and leaves files behind
        yield


def _short_folder() -> str:
    """Return the folder for temporary files, or where its name is too long for the sockets in it, /tmp."""
    folder = tempfile.gettempdir()
    return folder if os.name == "nt" or len(folder) <= LONGEST_FOLDER else "/tmp"  # noqa: S108


def _exit(number: int, _frame: FrameType | None) -> None:
    """End Ray and the command; a second signal ends the command at once."""
    signal.signal(number, signal.SIG_DFL)
    sys.exit(128 + number)


def _end_all(others: set[int]) -> None:
    """Stop Ray, and end what it leaves running, such as after an interrupted start; `others` are no part of it."""
    started = [child for child in psutil.Process().children() if child.pid not in others]
    for child in list(started):
        with contextlib.suppress(psutil.NoSuchProcess):
            started += child.children(recursive=True)
    ray.shutdown()
    for process in psutil.wait_procs(started, END_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def deployed(application: Application, model: str) -> Iterator[DeploymentHandle[Any]]:
    """Run an application without HTTP until the context ends; yields its handle.

    Raises ModelLoadError if its replicas cannot start.
    """
    name = f"edgefc-{secrets.token_hex(4)}"
    # A Ray of our own ends with all that runs in it; Serve in a joined one is left as it was.
    was_idle = "RAY_ADDRESS" in os.environ and not _has_serve()
    try:
        serve.start(proxy_location="Disabled")
        try:
            handle = serve.run(application, name=name, route_prefix=None)
        except RuntimeError as error:
            raise _load_error(name, model, error) from None
        yield handle
    finally:
        serve.delete(name)
        if was_idle:
            serve.shutdown()


def _has_serve() -> bool:
    try:
        ray.get_actor(CONTROLLER, namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def _load_error(name: str, model: str, error: RuntimeError) -> ModelLoadError:
    """Return the error of a replica that did not start: edgefc's own, from its traceback, or what Ray says."""
    deployments = serve.status().applications[name].deployments.values()
    for text in (deployment.message for deployment in deployments):
        if found := _ERROR.findall(text):
            reason, _, hint = found[-1].strip().partition("\n")
            return ModelLoadError(f"no replica could load {model}: {reason}", hint)
    return ModelLoadError(f"no replica could load {model}: {str(error).strip().splitlines()[-1]}")


def check_free_cores(cores: int) -> None:
    """Raise RequestError if a joined cluster has fewer cores than the replicas need."""
    total = ray.cluster_resources().get("CPU", 0)
    if cores > total:
        reason = f"the replicas need {cores} cores, and the cluster has {total:g}"
        raise RequestError("ray", reason, "Ask for fewer replicas, or for fewer --n-threads.")


def enter_folder(folder: str) -> None:
    """Make the folder of the command that of this replica, where the machine has it."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
