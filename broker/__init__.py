"""The broker: a group chat for Linux made of processes that can be watched, reniced, stopped and killed.

Start reading at `docs/architecture.md`, or at `broker/messages.py`, which names everything that the processes say to
one another.
"""

__version__ = "0.1.0"
