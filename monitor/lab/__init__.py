"""The process lab, `broker lab`: every state and fate of a process, made on purpose, bounded in time, cleaned up.

`stage` makes and ends processes, `registry` shows them to the monitor, `words` explains them; each scene is a module.
"""
