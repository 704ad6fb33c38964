"""Many questions, several budgets and methods, one table.

It may import `samples` and what is below, not `calibration`.
"""
