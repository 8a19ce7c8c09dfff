"""Workers that are gone for good, for whom the router still keeps something. Runs in the router.

A worker that is retired acknowledges all that it has had before it stops. One that is killed just then has not, and
nobody will: what is kept for it counts against what may be kept at all. It is forgotten when nobody could want it any
more, which is looked at twice in a row: a session may be on its way to a worker that has stopped, and the supervisor,
who starts it once more for that, learns of it a moment later than the router.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Final

from broker.router_state import FORGET, Input, RouterState

_LOOK_SECONDS: Final = 2.0


class Leavers:
    """`linked` has the workers that there is a Pipe to; `put` is given inputs for the state."""

    def __init__(
        self,
        state: RouterState,
        linked: Container[int],
        put: Callable[[Input], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._state = state
        self._linked = linked
        self._put = put
        self._call_later = call_later
        self._staff: frozenset[int] = frozenset()
        self._seen: set[int] = set()  # those who could have been forgotten at the last look
        self._looking = False

    def staff(self, workers: Iterable[int]) -> None:
        """These are the workers that there are; more come only after this has been called again."""
        self._staff = frozenset(workers)
        self._seen &= self._gone()
        self._look_later()

    def _gone(self) -> set[int]:
        return self._state.views.keys() - self._staff

    def _look_later(self) -> None:
        if not self._looking and self._gone():
            self._looking = True
            self._call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = False
        seen, self._seen = self._seen, set()
        given = any(view.gives_away for worker, view in self._state.views.items() if worker in self._staff)
        for worker in sorted(self._gone()):
            if given or worker in self._linked or not self._state.is_done_with(worker):
                continue
            if worker in seen:
                self._put((FORGET, worker))
            else:
                self._seen.add(worker)
        self._look_later()
