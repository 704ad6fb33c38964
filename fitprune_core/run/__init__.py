"""Running a request: pictures as people hand them over, answers, their times, what they cost, and a comparison of two.

It may import `pruning` and what is below.
"""
