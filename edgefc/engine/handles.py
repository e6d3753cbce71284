"""Native objects: none is used after it is freed, and none is freed while it is used.

Each has one owner, a `Handle`, which alone knows how to free it. Whoever passes its pointer to native code leases it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from edgefc.errors import EngineClosedError


class Handle:
    """A native object; `with handle as pointer` leases it. Thread-safe, and safe in signal handlers.

    `close` refuses new leases, closes the objects that depend on this one, waits until other threads have returned
    their leases, and frees the object. A thread that closes what it leases itself frees it with the end of its lease.
    An object that nobody refers to any more is closed with its handle.
    """

    def __init__(self, pointer: Any, free: Callable[[Any], object], *, parent: Handle | None = None) -> None:
        """Own an object; `parent` owns what it depends on, and is leased meanwhile.

        Raises EngineClosedError, and frees the object, if the parent was closed in the meantime.
        """
        self._is_freed = self._is_closed = False
        self._pointer, self._free, self._parent = pointer, free, parent
        # One lock for an object and all that depend on it.
        self._changed: threading.Condition = parent._changed if parent else threading.Condition()  # noqa: SLF001
        self._users: dict[int, int] = {}  # leases by thread
        self._children: set[Handle] = set()
        with self._changed:
            if parent is None:
                _ROOTS.add(self)
            else:
                parent._children.add(self)  # noqa: SLF001
                if parent.is_closed:
                    self.close()
                    raise closed_error()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def check(self) -> None:
        """Raise EngineClosedError if it is closed. Another thread may close it right after: to use it, lease it."""
        if self._is_closed:
            raise closed_error()

    def __enter__(self) -> Any:
        thread = threading.get_ident()
        with self._changed:
            # Counted before the check: a signal handler, which runs in this thread, may close it in between.
            self._users[thread] = self._users.get(thread, 0) + 1
            if not self._is_closed:
                return self._pointer
            self._return_lease()
        raise closed_error()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._return_lease()

    def close(self) -> None:
        """Free the object as soon as nobody uses it. May be called more than once, by any thread."""
        with self._changed:
            self._is_closed = True
            for child in list(self._children):
                child.close()
            own = threading.get_ident()
            self._changed.wait_for(lambda: self._users.keys() <= {own})
            self._free_if_unused()

    def __del__(self) -> None:
        if not self._is_freed:  # a lease or a child would refer to it: there is nothing to wait for
            self.close()

    def _return_lease(self) -> None:
        thread = threading.get_ident()
        self._users[thread] -= 1
        if not self._users[thread]:
            del self._users[thread]
        if self._is_closed:
            self._free_if_unused()
            self._changed.notify_all()

    def _free_if_unused(self) -> None:
        if self._is_freed or not self._is_closed or self._users or self._children:
            return
        self._is_freed = True
        pointer, self._pointer = self._pointer, None
        self._free(pointer)
        if self._parent is None:
            _ROOTS.discard(self)
        else:
            self._parent._children.discard(self)  # noqa: SLF001
            self._parent._free_if_unused()  # noqa: SLF001


_ROOTS: weakref.WeakSet[Handle] = weakref.WeakSet()  # those that are not freed, without those that have a parent


def closed_error() -> EngineClosedError:
    return EngineClosedError("the model was closed", "Load it again.")


# Leased while objects without a parent are created.
LOADS = Handle(None, lambda _: None)


@contextlib.contextmanager
def exit_at_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C: native threads may be running, which must not see the interpreter go."""
    try:
        yield
    except KeyboardInterrupt:
        os._exit(130)


@atexit.register
def _close_all() -> None:
    """Wait for native code that daemon threads run, and refuse it from then on.

    Native code that ran on would return to an interpreter, or to a library, that is being torn down.
    """
    with exit_at_interrupt():
        LOADS.close()
        for handle in list(_ROOTS):
            handle.close()
