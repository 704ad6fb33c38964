"""The edge to the outside. What comes in, before anything believes it: values shortened for messages, plain files,
bounded JSON; what goes out: figures with their units, complaints of one line.

The lowest room: it imports none of the others.
"""
