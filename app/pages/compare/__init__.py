"""The Compare page: one picture, one question; two answers, what was saved, and what was thrown away."""

from app.pages.compare.layout import CLICK_RUN, RUN_BEGUN, RUN_LINKED, create_compare
from app.pages.compare.looking import create_looking
from app.pages.compare.page import ComparePage
from app.pages.compare.sharing import create_sharing

__all__ = [
    "CLICK_RUN",
    "RUN_BEGUN",
    "RUN_LINKED",
    "ComparePage",
    "create_compare",
    "create_looking",
    "create_sharing",
]
