"""The page around the tabs: furniture, theme, and how it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.asking.gallery import load_gallery
from app.background.runs import Runs
from app.door.guard import Guarded
from app.door.queueing import queue_size
from app.endpoints.api import create_api
from app.engine import Engine
from app.middleware import app_options
from app.pages.compare import RUN_BEGUN, RUN_LINKED, create_compare, create_looking, create_sharing
from app.pages.inspect import create_inspect
from app.pages.recipes import create_recipes
from app.pages.sweep import create_sweep
from app.pages.wiring import AT_ONCE
from app.parts.guide import Guide, GuideData
from app.parts.masthead import Identity, Masthead
from app.precomputed import FOLDER as PRECOMPUTED
from app.settings import GALLERY, RUNS
from app.theme import CSS, make_head, make_theme
from app.zero_gpu import is_zero_gpu

TITLE = "FitPrune Studio"
_SESSIONS = 1_000  # visitors whose last results are kept; a call of an endpoint counts as one
_KEEP = 86_400  # seconds that an uploaded picture stays on the server


def build_demo(
    engine: Engine, runs: Path = RUNS, gallery: Path = GALLERY, precomputed: Path = PRECOMPUTED
) -> gr.Blocks:
    """The whole app for one engine, with its queue set up, ready to be launched.

    runs: where Inspect keeps its runs; gallery: see `load_gallery`, which raises ValueError; precomputed: see
    `load_ready`.
    """
    options = {"title": TITLE, "analytics_enabled": False, "fill_width": True, "delete_cache": (3600, _KEEP)}
    with Guarded(engine.limits, **options) as demo:
        with gr.Column(elem_id="page"):
            Masthead(
                Identity(model=engine.model_name, device=engine.device, is_demo=engine.is_demo), elem_id="masthead"
            )
            in_background = Runs(engine, runs)
            # Outside the tabs: a tab's parts are made when it is first shown, too late for whoever is back.
            token = gr.BrowserState("", storage_key="fitprune-run", secret="fitprune-studio")
            fitting = gr.BrowserState("", storage_key="fitprune-fit", secret="fitprune-studio")
            with gr.Tabs(elem_id="pages") as tabs:
                with gr.Tab("Compare", id="compare"):
                    page = create_compare(engine, load_gallery(gallery), precomputed)
                    create_sharing(page)
                    create_looking(page)
                with gr.Tab("Sweep", id="sweep"):
                    create_sweep(engine, page, tabs)
                with gr.Tab("Inspect", id="inspect"):
                    inspect = create_inspect(engine, page, tabs, in_background, token)
                with gr.Tab("Recipes", id="recipes"):
                    recipes = create_recipes(engine, page, tabs, in_background, fitting)
                with gr.Tab("About", id="about"):
                    Guide(GuideData(model=engine.model_name, is_demo=engine.is_demo), elem_classes="bare")
            create_api(engine)
        demo.unload(page.leave)
        inspect.welcome(demo)
        recipes.welcome(demo)
        # The embedded model is quick, so a visitor meets a result, not an empty page; of another model they meet
        # one where the address asks for it, unless that took of their quota.
        first = RUN_BEGUN if engine.is_demo else RUN_LINKED
        arrived = demo.load(page.arrive, None, page.all_shown, **AT_ONCE)
        if not is_zero_gpu():
            arrived.then(None, page.parts.is_ready, None, js=first)
    return demo.queue(max_size=queue_size(engine.limits), default_concurrency_limit=1, api_open=False)


def launch_options(engine: Engine) -> dict[str, Any]:
    """What `Blocks.launch` is told besides host and port."""
    return {
        "theme": make_theme(),
        "css_paths": [CSS],
        "head": make_head(),
        "max_file_size": engine.limits.upload_bytes,
        "show_error": False,
        "ssr_mode": False,
        "state_session_capacity": _SESSIONS,
        "enable_monitoring": False,
        "run_history": False,
        "mcp_server": False,  # `app.endpoints.agents` has one
        "footer_links": ["api"],  # Gradio's settings speak to whoever writes an app
        "share": False,
        "app_kwargs": app_options(engine),
    }
