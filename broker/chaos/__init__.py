"""Chaos: kill the broker's processes while people chat, and hold every byte that they hear against what is due.

Runs in `broker chaos` and its load processes, never in the broker. It knows the broker from outside only: the chat
protocol, the control socket, /proc and signals.
"""
