"""Router, workers and custodian in one process, over a kernel that is a few lists, killed wherever chance wants it."""
