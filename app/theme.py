"""Colours, type and spacing: Gradio's own variables for light and dark, and in theme.css what they do not cover."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = Path(__file__).with_name("theme.css")
_COLOURS = Path(__file__).with_name("colours.js")

# (light, dark). One accent, vermilion, means "look here"; viridis is for maps alone.
_PAGE, _PANEL = ("#f4f4f1", "#101214"), ("#ffffff", "#191c1f")
_INK, _INK_2 = ("#16191d", "#eceeea"), ("#4a5159", "#b4babf")
_RULE = ("#dedfda", "#2e3338")
_ACCENT = ("#c8420a", "#ff8244")


def make_theme() -> gr.themes.Base:
    """The theme; its fonts are files that Gradio serves itself."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_sm,
        text_size=gr.themes.sizes.text_sm,
        # Bold, not semibold: Gradio's semibold file of this font holds no Latin letters.
        font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "monospace"),
    )
    return theme.set(
        **_both("body_background_fill", _PAGE),
        **_both("background_fill_primary", _PANEL),
        **_both("background_fill_secondary", _PAGE),
        **_both("body_text_color", _INK),
        **_both("body_text_color_subdued", _INK_2),
        **_both("block_background_fill", _PANEL),
        **_both("block_border_color", _RULE),
        **_both("border_color_primary", _RULE),
        **_both("input_background_fill", _PANEL),
        **_both("input_border_color", _RULE),
        **_both("input_border_color_focus", _ACCENT),
        **_both("color_accent", _ACCENT),
        **_both("slider_color", _ACCENT),
        **_both("link_text_color", _INK),
        **_both("button_primary_background_fill", ("#c8420a", "#c8420a")),
        **_both("button_primary_background_fill_hover", ("#a83504", "#a83504")),
        **_both("button_primary_text_color", ("#ffffff", "#ffffff")),
        **_both("button_secondary_background_fill", _PANEL),
        **_both("button_secondary_background_fill_hover", _PAGE),
        **_both("button_secondary_border_color", _RULE),
        **_both("button_secondary_text_color", _INK),
        block_radius="7px",
        input_radius="6px",
        button_large_radius="6px",
        button_small_radius="6px",
    )


def make_head() -> str:
    """What comes into the head of the page: Gradio puts it there before it draws anything."""
    return f"<script>{_COLOURS.read_text(encoding='utf-8')}</script>"


def _both(name: str, colors: tuple[str, str]) -> dict[str, str]:
    """A variable of the theme in light and in dark; Gradio has no dark one where it derives it."""
    return {name: colors[0], **({f"{name}_dark": colors[1]} if name != "color_accent" else {})}
