"""The models of `edgefc eval`, in this process or with `--ray` in replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from edgefc.cli.loading import find_model, load_model, load_progress
from edgefc.cli.options import LoadOptions
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.evaluation.run import CaseRunner

# Called with a model's name and options; the model is loaded until the context ends.
RunnerOf = Callable[[str, LoadOptions], AbstractContextManager["CaseRunner"]]


@contextmanager
def case_runners(names: Sequence[str], ray: str | None, load: LoadOptions, parallel: int) -> Iterator[RunnerOf]:
    """Yield what asks models, here or where `--ray` says. Raises EdgefcError for a model that is not there, too."""
    for name in names:
        find_model(name)
    if ray is None:
        yield lambda name, options: _local(name, options, parallel)
        return
    from edgefc.ray.evaluation import RunnerOfReplicas, ray_runners
    from edgefc.ray.scale import Scale

    if load.engine is not None:
        raise RequestError("engine", "cannot be used with --ray", "Another server computes; ask it without --ray.")

    @contextmanager
    def in_replicas(name: str, options: LoadOptions) -> Iterator[CaseRunner]:
        with ExitStack() as replicas:
            with load_progress(name):
                runner = replicas.enter_context(runner_of(name, options.keywords()))
            yield runner

    runner_of: RunnerOfReplicas
    with ray_runners(Scale.parse(ray), load.keywords(), parallel) as runner_of:
        yield in_replicas


@contextmanager
def _local(name: str, options: LoadOptions, parallel: int) -> Iterator[CaseRunner]:
    from edgefc.evaluation.run import ModelRunner

    with load_model(find_model(name), options) as model:
        yield ModelRunner(model, parallel)
