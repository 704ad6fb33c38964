"""What comes in from outside, before anything believes it: values shortened for messages, plain files, bounded JSON.

The lowest room: it imports none of the others.
"""
