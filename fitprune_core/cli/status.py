"""How a program ends: its exit status, and one line on standard error where it could not do what it was asked."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fitprune_core.cli.options import BAD_INPUT, PROGRAM, complain
from fitprune_core.samples.processes import FailedElsewhere

FAILED, INTERRUPTED = 1, 130


def exit_status(
    work: Callable[[], object], program: str = PROGRAM, *, debug: bool = False, interrupted: str = "interrupted"
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
