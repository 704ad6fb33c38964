"""Components that live in the browser: a page fragment, its style and its script, fed with one typed value.

The fragment is static. Texts of visitors and models reach the page only as `textContent`, set by the script: Gradio
would run a value inside a template as JavaScript.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from fitprune_core.report.export import VIEW

# Gradio wraps the script in a function of its own, so that what a file declares stays in its component.
SHARED_SCRIPTS = (VIEW / "shared.js", Path(__file__).with_name("way_back.js"))


class BrowserComponent(gr.HTML):
    """A gr.HTML made of the files <folder>/<name>.html, .css and .js. A subclass names its folder and `data_model`.

    scripts, styles: files that come before these, by their names in the folder or whole.
    """

    folder: Path
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    def __init__(self, value: Any = None, **options: Any) -> None:
        name = self.folder.name
        files = [*SHARED_SCRIPTS, *(self.folder / script for script in self.scripts), self.folder / f"{name}.js"]
        super().__init__(
            value,
            html_template=_template(self.folder / f"{name}.html"),
            css_template="\n".join(_template(self.folder / style) for style in (*self.styles, f"{name}.css")),
            js_on_load="\n".join(path.read_text(encoding="utf-8") for path in files),
            apply_default_css=False,
            **options,
        )

    def api_info(self) -> dict[str, Any]:
        """The schema of `data_model`; gr.HTML would call every value a string. One without a value has none."""
        return Component.api_info(self) if self.data_model else {}


def _template(path: Path) -> str:
    """Gradio reads templates as JavaScript template strings with Handlebars; ours must hold neither."""
    text = path.read_text(encoding="utf-8")
    for sign in ("`", "${", "{{", "\\"):
        if sign in text:
            raise ValueError(f"{path.name} holds {sign!r}, which Gradio would run as a template")
    return text
