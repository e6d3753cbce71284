"""Native objects are freed once, and never while a thread uses them."""

from __future__ import annotations

import gc
import threading

import pytest

from edgefc import inspection
from edgefc.engine.handles import Handle
from edgefc.errors import EngineClosedError


class Freed(list[str]):
    """The names of the objects that were freed, in this order."""

    def handle(self, name: str, parent: Handle | None = None) -> Handle:
        return Handle(name, self.append, parent=parent)


def test_a_closed_object_is_refused_and_freed_once() -> None:
    freed = Freed()
    handle = freed.handle("model")
    with handle as pointer:
        assert pointer == "model"
    for _ in range(3):
        handle.close()
    assert freed == ["model"]
    with pytest.raises(EngineClosedError):
        handle.__enter__()
    with pytest.raises(EngineClosedError):
        handle.check()


def test_closing_waits_for_other_threads() -> None:
    freed = Freed()
    handle = freed.handle("model")
    closers = [threading.Thread(target=handle.close) for _ in range(3)]
    with handle, handle:
        for closer in closers:
            closer.start()
        while not handle.is_closed:
            pass
        with pytest.raises(EngineClosedError):
            handle.__enter__()
        assert not freed
        assert all(closer.is_alive() for closer in closers)
    for closer in closers:
        closer.join(60)
        assert not closer.is_alive()
    assert freed == ["model"]


def test_a_thread_that_closes_what_it_uses_frees_it_afterwards() -> None:
    freed = Freed()
    handle = freed.handle("model")
    with handle:
        with handle:
            handle.close()
        assert not freed
    assert freed == ["model"]


def test_what_depends_on_an_object_is_freed_first() -> None:
    freed = Freed()
    model = freed.handle("model")
    contexts = [freed.handle(f"context {number}", model) for number in range(2)]
    contexts[1].close()
    with contexts[0]:
        model.close()
        assert freed == ["context 1"]
    assert freed == ["context 1", "context 0", "model"]
    with pytest.raises(EngineClosedError):
        freed.handle("late", model)
    assert freed[3:] == ["late"], "nobody else knows of it"


def test_many_threads_never_see_a_freed_object() -> None:
    for _ in range(20):
        state = {"alive": True}
        handle = Handle(state, lambda state: state.update(alive=False))
        seen: list[bool] = []

        def use(handle: Handle = handle, seen: list[bool] = seen) -> None:
            with pytest.raises(EngineClosedError):  # noqa: PT012 - it ends the loop
                while True:
                    with handle as pointer:
                        seen.append(pointer["alive"])

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        while not seen:
            pass
        handle.close()
        assert not state["alive"]
        for thread in threads:
            thread.join(60)
        assert all(seen)


def test_what_nobody_refers_to_is_freed_and_its_dependants_first() -> None:
    freed = Freed()
    parent = freed.handle("model")
    child = freed.handle("context", parent)
    del parent
    gc.collect()
    assert not freed, "the context refers to its model"
    del child
    gc.collect()
    assert freed == ["context", "model"]


def test_a_look_at_a_model_frees_its_vocabulary() -> None:
    gc.collect()
    before = count_handles()
    for _ in range(3):
        inspection.describe("demo")
    gc.collect()
    assert count_handles() == before


def count_handles() -> int:
    return sum(isinstance(one, Handle) and not one.is_closed for one in gc.get_objects())
