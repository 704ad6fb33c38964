"""Which visual tokens go: one file a method.

`base` says what a method is, `registry` knows all of them by name. CONTRIBUTING.md tells how to add one.
"""

from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.pruning.methods.registry import METHODS, find_method

__all__ = ["METHODS", "Candidates", "Method", "find_method"]
