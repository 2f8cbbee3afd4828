"""The fault hunter: random traffic, random faults, then the oracle. `python -m hunt --help` says how to run it."""
