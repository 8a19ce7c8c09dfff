"""The entry points of the child processes: thin I/O shells around the pure cores in `broker`."""
