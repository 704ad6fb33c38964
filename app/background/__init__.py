"""Runs that go on without their page: where they are kept, how far they are, what their rows show."""
