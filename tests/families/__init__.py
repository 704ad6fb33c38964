"""Tiny random checkpoints in the Hub's layout, one writer a family."""
