"""`edgefc eval --ray`: cases spread over replicas; those of a replica that is lost are asked again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from edgefc.errors import CancelledError, EdgefcError, EngineClosedError
from edgefc.evaluation.answering import AskedCase
from edgefc.evaluation.cases import Case
from edgefc.evaluation.results import CaseResult, EvalSetting
from edgefc.evaluation.run import AHEAD, setting_of
from edgefc.model import Model, load
from edgefc.ray.application import deployment_of, replica_threads
from edgefc.ray.cluster import check_free_cores, cluster, deployed, enter_folder
from edgefc.ray.replicas import LOST_ERRORS, MAX_TRIES, pauses
from edgefc.ray.scale import Scale
from edgefc.server.settings import Settings

RunnerOfReplicas = Callable[[str, dict[str, Any]], contextlib.AbstractContextManager["RayRunner"]]
MAX_AT_ONCE = 1024  # cases that all replicas compute
TIMEOUT_S = 3600.0  # for a case, including the wait for a replica
log = logging.getLogger("edgefc.server")


class CaseReplica:
    """A replica that asks a model of its own, and judges the answers."""

    def __init__(self, model: str, options: dict[str, Any], folder: str, parallel: int) -> None:
        """Load `model` with `options` of `edgefc.load`, whose relative paths begin in `folder`."""
        enter_folder(folder)
        self._model: Model = load(model, **options)
        self._threads = ThreadPoolExecutor(parallel)

    async def setting(self, suite: str, options: dict[str, Any]) -> EvalSetting:
        """Return the setting of a run. Raises RequestError."""
        return setting_of(self._model, suite, **options)

    async def judge(self, case: Case, setting: EvalSetting) -> CaseResult:
        """Return the result of a case. Raises EngineClosedError."""
        in_thread = asyncio.get_running_loop().run_in_executor
        question = await in_thread(self._threads, AskedCase, self._model, case, setting)
        try:
            return await in_thread(self._threads, question.wait)
        except asyncio.CancelledError:
            question.cancel()
            raise

    async def check_health(self) -> None:
        """Raise RuntimeError when the engine has stopped: Ray Serve then starts another replica."""
        if getattr(self._model.engine, "has_stopped", False):
            raise RuntimeError("the engine has stopped")

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._model.close()
            self._threads.shutdown(wait=False)


class RayRunner:
    """Asks cases of replicas, `parallel` of all together at the same time."""

    def __init__(self, handle: DeploymentHandle[Any], parallel: int) -> None:
        self._handle, self.parallel = handle, parallel

    def setting(self, suite: str, **options: Any) -> EvalSetting:
        """Return the setting of a run. Raises RequestError or EngineClosedError."""
        found: EvalSetting = _ReplicaCall(lambda: self._handle.setting.remote(suite, options), "setting").wait()
        return found

    def ask(self, case: Case, setting: EvalSetting) -> _ReplicaCall:
        """Begin a case, where its tools are in the cache and a place is free."""
        tools = hashlib.sha256(json.dumps(list(case.tools)).encode()).hexdigest()[:32]
        judge = self._handle.options(session_id=tools).judge
        return _ReplicaCall(lambda: judge.remote(case, setting), case.id)


class _ReplicaCall:
    """A call of a replica, repeated if the replica is lost."""

    def __init__(self, send: Callable[[], DeploymentResponse[Any]], name: str) -> None:
        self._send, self._name = send, name
        self._response = send()

    def wait(self) -> Any:
        """Return what the replica does. Raises EngineClosedError for a call that no replica survives."""
        for pause in pauses():
            if pause:
                time.sleep(pause)
                self._response = self._send()
            try:
                return self._response.result(timeout_s=TIMEOUT_S)
            except (*LOST_ERRORS, EngineClosedError, CancelledError) as error:
                log.warning("%s is asked again: %s", self._name, str(error).partition("\n")[0])
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, EdgefcError) else error from None
            except TimeoutError:
                break
        reason = f"{self._name}: no replica has answered in {MAX_TRIES} tries, or in {TIMEOUT_S:g} seconds"
        raise EngineClosedError(reason, "The same command with --resume goes on with the evaluation.")

    def cancel(self) -> None:
        """Stop generating."""
        self._response.cancel()


@contextlib.contextmanager
def ray_runners(scale: Scale, options: dict[str, Any], parallel: int) -> Iterator[RunnerOfReplicas]:
    """Join or start a cluster until the context ends; yields what runs replicas of a model in it.

    options   of `edgefc.load`, which say how many threads a replica has
    parallel  cases that a replica computes at the same time

    Raises RequestError if the cluster is too small, or EngineClosedError if there is none.
    """
    settings = Settings(parallel=parallel, max_waiting=MAX_AT_ONCE * (1 + AHEAD), drain=0.0)
    threads = replica_threads(options, scale)
    with cluster(scale.maximum * threads):
        check_free_cores(scale.minimum * threads)
        yield functools.partial(_runner, scale, settings, threads)


@contextlib.contextmanager
def _runner(scale: Scale, settings: Settings, threads: int, model: str, options: dict[str, Any]) -> Iterator[RayRunner]:
    """Run replicas of a model until the context ends. Raises ModelLoadError if none starts."""
    deployment = deployment_of(CaseReplica, scale, settings, threads)
    replica = deployment.bind(model, {**options, "n_threads": threads}, str(Path.cwd()), settings.parallel)
    with deployed(replica, model) as handle:
        yield RayRunner(handle, min(MAX_AT_ONCE, settings.parallel * scale.maximum))
