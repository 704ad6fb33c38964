"""Dropping visual tokens inside the layers of a stock model while it runs, and the methods that choose them.

It may import `models` and what is below; a model is left as it was found.
"""
