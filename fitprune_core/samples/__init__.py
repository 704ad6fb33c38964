"""Samples files and the way through them: reading, several processes, what was done for which sample.

It may import `run` and what is below.
"""
