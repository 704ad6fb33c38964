"""What the page says of every budget beforehand."""

from app.parts.budget import plans_of
from tests.app.fake_engine import FakeEngine


def test_the_page_has_no_warning_of_its_own():
    plans = plans_of(FakeEngine().previews(), 60)
    assert set(plans.notes) == {""} and len(plans.notes) == 91
