"""Benchmarks: what pruning saves in time, and what fitting costs. `make bench`, or `python -m tests.benchmarks`."""
