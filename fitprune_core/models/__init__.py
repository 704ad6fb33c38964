"""The models that can be pruned: loading them, their prompts, what their decoders share, where their tokens lie.

It may import `cost` and `recipes`; nothing here drops a token.
"""
