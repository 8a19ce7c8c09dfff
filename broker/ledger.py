"""The ledger: three words of shared memory for each session, which outlive whoever wrote them.

One memory for the whole broker: the supervisor makes it before it forks, so that every worker has it mapped and every
replacement finds in it what its predecessor had written. A session has the *slot* that custody gave it; only the
worker that has the session's socket writes there. What the words mean is `broker.stream_position`'s to know.
"""

from __future__ import annotations

import mmap
from typing import Final

_WORD_BYTES: Final = 8


class Ledger:
    """`output`, `sent` and `consumed` hold one 64-bit word for each slot; a store into one is atomic.

    `output` has each session's output word; `sent` and `consumed` are the progress words of local sockets. The slot
    `scratch` is for whoever may not write anywhere yet, or any more: nobody reads it.
    """

    def __init__(self, slots: int) -> None:
        self.scratch = slots
        each = slots + 1
        words = memoryview(mmap.mmap(-1, 3 * each * _WORD_BYTES)).cast("Q")  # MAP_SHARED | MAP_ANONYMOUS
        self.output = words[:each]
        self.sent = words[each : 2 * each]
        self.consumed = words[2 * each :]

    def clear(self, slot: int) -> None:
        """A new session: nothing is counted, sent or consumed."""
        self.output[slot] = self.sent[slot] = self.consumed[slot] = 0
