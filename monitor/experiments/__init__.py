"""Controlled experiments on the broker and on Linux: `broker experiment`.

`design` lays out arms and their order, an experiment's own module carries one trial out, `statistics` estimates,
`result` is what is kept, and `terminal`, `report` show it. What experiments there are is in `catalogue`.
"""
