"""Collecting statistics: of samples in memory or of a samples file of any size; and the authors' own fit.

It may import `samples` and what is below, not `evaluation`.
"""
