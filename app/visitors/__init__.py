"""Visitors: who somebody is, what they may ask for, and whose turn it is."""
