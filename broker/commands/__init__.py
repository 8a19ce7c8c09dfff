"""One module per command of the command line; `broker.cli` imports the one that was asked for."""
