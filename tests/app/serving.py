"""Serve the app for a test, on a free port, without blocking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.interface import build_demo, launch_options


@contextmanager
def served(engine) -> Iterator[str]:
    """The address at which the app answers inside the `with` block."""
    demo = build_demo(engine)
    try:
        _, url, _ = demo.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, inbrowser=False, **launch_options()
        )
        yield url
    finally:
        demo.close(verbose=False)
