"""Load generators: what the broker does under load, measured from outside, with every byte that comes back checked.

They know a server by its protocol only, so that other servers can be put under the same load. No part of the broker
imports this package.
"""
