"""Serve FitPrune Studio: `python app.py [--model M] [--host H] [--port P]`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

# Both are read once, at import: no telemetry, no version check.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# On a ZeroGPU Space this package must come before anything looks for CUDA. It stands in for CUDA while weights are
# loaded, but on this thread alone, so that transformers must not read them on others.
if os.environ.get("SPACES_ZERO_GPU") == "true":
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    import spaces  # noqa: F401

from app.settings import Settings


def main() -> int:
    """Run the server until it is interrupted. Returns the exit status: 2, after one line, for what cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings.read()
    # After the options: what they mean, and what is wrong with them, is told without waiting for torch and Gradio.
    from app.door.uploads import upload_folder
    from app.engine import Engine
    from app.interface import build_demo, launch_options

    # What stops a service: it ends like Ctrl-C, so that uploads are removed.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with upload_folder():
            engine = Engine.from_settings(settings)
            demo = build_demo(engine, settings.runs, settings.gallery)
            demo.launch(server_name=settings.host, server_port=settings.port, **launch_options(engine))
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, MemoryError) as error:
        print(f"app.py: {_one_line(error, settings)}", file=sys.stderr)
        return 2
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _one_line(error: Exception, settings: Settings) -> str:
    """What went wrong, in one line. Gradio says that it found no empty port where the port is in use."""
    if isinstance(error, OSError) and "empty port" in str(error):
        return f"port {settings.port} on {settings.host} is in use; choose another with --port"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
