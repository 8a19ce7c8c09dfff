"""Chat protocols, each a pure state machine with the same four methods (see `broker.protocols.plain`)."""
