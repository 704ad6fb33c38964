"""A page with a run in the background: how it begins, how far it is, how it ends, and that it is there for whoever is
back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import gradio as gr

from app.background.runs import Run, Runs
from app.engine import Engine
from app.pages.wiring import AT_ONCE, wrong
from app.parts.notice import Message, Notice
from app.visitors.allowance import Asker
from app.visitors.visits import asker_of
from app.words import sentence


class RunParts(Protocol):
    """The components that every run changes. `token` is that of the visitor's run, kept in their browser."""

    @property
    def notice(self) -> Notice: ...
    @property
    def stop(self) -> gr.Button: ...
    @property
    def timer(self) -> gr.Timer: ...
    @property
    def token(self) -> gr.BrowserState: ...


class RunPage(ABC):
    """What the events of such a page do. Handlers return {component: value}; what they leave out stays as it is.

    `held` is what else the page's handlers read, in the order of `held_parts`.
    """

    parts: RunParts  # set by whoever lays out the page
    stopped_early: str  # said of a run that was stopped before there was anything to show
    meanwhile: str  # said while one is on the way

    def __init__(self, engine: Engine, runs: Runs) -> None:
        self.engine, self.runs = engine, runs

    @property
    @abstractmethod
    def changed_by_results(self) -> list[gr.components.Component]:
        """What `results` may change, but for the notice."""

    @property
    def held_parts(self) -> list[gr.components.Component]:
        """What `results` reads besides the run."""
        return []

    @abstractmethod
    def results(self, run: Run, *held: Any) -> dict:
        """What a run that is over shows. Raises ValueError and OSError where its results cannot be read."""

    @property
    def all_shown(self) -> list[gr.components.Component]:
        """What how far a run is may change."""
        parts = self.parts
        return [parts.notice, parts.timer, parts.stop, *self.changed_by_results]

    def begun(self, ask: Callable[[Asker], Run], token: str | None, request: gr.Request) -> dict[Any, Any]:
        """A run that was asked for, or why it cannot begin. token: of the run that this visitor had before, if any.

        Where that one is on the way, whose progress is written over the notice each second, the browser tells it apart.
        """
        parts = self.parts
        try:
            run = ask(asker_of(request))
        except ValueError as error:
            before = self.runs.find(token)
            if before is not None and before.is_busy:
                gr.Warning(sentence(error))
                return {parts.timer: gr.Timer(active=True)}
            return {parts.notice: wrong(error), parts.timer: gr.Timer(active=False)}
        return {parts.token: run.token, **self._on_the_way(run)}

    def go_on(self, token: str | None, *held: Any) -> dict:
        """A visitor is back: their run is shown, and goes on where the server left it."""
        try:
            self.runs.go_on(token)
        except (ValueError, OSError) as error:
            return {self.parts.notice: wrong(error)}
        return self.look_after(token, *held)

    def stop(self, token: str | None, *held: Any) -> dict:
        """End the visitor's run after its batch."""
        run = self.runs.find(token)
        if run is not None:
            run.stop()
        return self.look_after(token, *held)

    def look_after(self, token: str | None, *held: Any) -> dict:
        """How far the visitor's run is; its results, once it is over."""
        parts, run = self.parts, self.runs.find(token)
        if run is not None and run.is_busy:
            return self._on_the_way(run)
        over = {parts.timer: gr.Timer(active=False), parts.stop: gr.Button(interactive=False)}
        if run is None:
            return over
        if run.state == "failed":
            return {**over, parts.notice: wrong(run.problem)}
        if not run.results.is_file():
            return {**over, parts.notice: Message(text=self.stopped_early)}
        try:
            return {**over, **self.results(run, *held)}
        except (ValueError, OSError) as error:
            return {**over, parts.notice: wrong(error)}

    def _on_the_way(self, run: Run) -> dict:
        parts = self.parts
        words = run.progress if run.was_stopped else f"{run.progress} {self.meanwhile}"
        return {
            parts.notice: Message(text=words, share=run.done / run.total if run.total else 0.0),
            parts.timer: gr.Timer(active=True),
            parts.stop: gr.Button(interactive=not run.was_stopped),
        }

    def follow(self) -> None:
        """Wire what goes on while a run is on the way; the button that begins it is the page's own."""
        parts, held = self.parts, [self.parts.token, *self.held_parts]
        parts.stop.click(self.stop, held, self.all_shown, **AT_ONCE)
        parts.timer.tick(self.look_after, held, self.all_shown, **AT_ONCE)

    def welcome(self, demo: gr.Blocks) -> None:
        """What happens when somebody opens the page; events of a page belong to the Blocks around it."""
        demo.load(self.go_on, [self.parts.token, *self.held_parts], self.all_shown, **AT_ONCE)
