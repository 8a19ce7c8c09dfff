"""The servers that the broker is measured against, each with a configuration of ours beside this file.

A peer is a program that is installed here, or is not; none is downloaded or built, but for `limit.c`. Its flood control
is off, and so is whatever else would keep it from doing what the load asks for; apart from that it has its defaults.
"""
