"""What a worker's replacement still has to send, and who was in which group: the decisions of a replay. Pure.

Theory of operation. The router keeps a worker's batches until every byte of them is in the kernel. A replacement gets
the groups as of the last acknowledged batch (`rewound`) and all batches since. For each session, the ledger's output
word says up to which of them its bytes are counted, and the kernel how many bytes are written. So the stream of a
session falls into two parts: what is *counted*, of which the kernel may lack the end, and what is *fresh*, of which it
has nothing (`to_send`). Batches that are merged differently give the same streams, so nothing else has to be repeated.

    acknowledged                counted up to              last batch
    |------------ counted ------------|---------- fresh ---------|
    |---- written ----|--- unsent ----|
                      ^ the kernel's position
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import LocalProtocolError
from broker.messages import ADD, REMOVE, Operation
from broker.stream_position import unsent


def rewound(groups: dict[int, list[int]], operations: list[Operation]) -> dict[int, list[int]]:
    """The members of each group as they were before the operations; `groups` is how they are after them."""
    members = {group: dict.fromkeys(sessions) for group, sessions in groups.items()}
    for operation in reversed(operations):
        if operation[0] == ADD:
            members[operation[1]].pop(operation[2], None)
        elif operation[0] == REMOVE:
            members.setdefault(operation[1], {})[operation[2]] = None
    return {group: list(sessions) for group, sessions in members.items() if sessions}


def boundaries(counted_up_to: Iterable[int], acknowledged: int, last: int) -> list[int]:
    """The batch numbers at which some session's counted part ends, ascending, ending with `last`."""
    return sorted({number for number in counted_up_to if acknowledged < number < last} | {last})


def to_send(counted: bytes, fresh: bytes, due: int, written: int) -> bytes:
    """What is not yet in the kernel, where `due` bytes are due up to the end of `counted`.

    LocalProtocolError if the kernel lacks more than `counted` has, or has more than was ever due.
    """
    missing = unsent(due, written)
    if missing > len(counted):
        raise LocalProtocolError(f"{missing} bytes are not written, but only {len(counted)} of them are known")
    return counted[len(counted) - missing :] + fresh
