"""A program with a command line: complaints of one line on standard error, and the exit status that it ends with."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from fitprune_core.checks.words import cut

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


class FailedElsewhere(RuntimeError):
    """Another process cannot go on, and says why; this one has nothing to add."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage above it.

    program: who complains, set by a subclass; `prog` names the command as well.
    """

    program: str

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)  # --recipe is not --recipes

    def error(self, message: str) -> NoReturn:
        complain(message, self.program)
        raise SystemExit(BAD_INPUT)


def complain(message: str, program: str) -> None:
    """One line on standard error."""
    print(f"{program}: {cut(message)}", file=sys.stderr)


def exit_status(
    work: Callable[[], object], program: str, *, debug: bool = False, interrupted: str = "interrupted"
) -> int:
    """Do `work`, and return 0, 1 (the machine gave up, or another process says why), 2 (bad input), or 130
    (interrupted).

    program: whose complaint it is. debug: whether the traceback of an error is shown as well. interrupted: what is said
    of an interruption.
    """
    try:
        work()
    except (ValueError, OSError) as error:
        return _failed(error, BAD_INPUT, program, debug)
    except MemoryError as error:
        return _failed(error, FAILED, program, debug)
    except FailedElsewhere:
        return FAILED
    except KeyboardInterrupt:
        complain(interrupted, program)
        return INTERRUPTED
    return 0


def _failed(error: Exception, status: int, program: str, debug: bool) -> int:
    if debug:
        logging.getLogger(__name__).error("", exc_info=error)
    complain(str(error) or type(error).__name__, program)
    return status
