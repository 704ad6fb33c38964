"""Options from the command line and the environment."""

from __future__ import annotations

import pytest

from app.settings import Limits, Settings
from fitprune_core.models.options import LoadOptions


def test_defaults():
    assert Settings.read([], {}) == Settings()


def test_command_line_wins_over_environment():
    environment = {"FITPRUNE_MODEL": "some/folder", "FITPRUNE_PORT": "8000"}
    settings = Settings.read(["--port", "9000"], environment)
    assert (settings.model, settings.port) == ("some/folder", 9000)


def test_how_a_model_is_loaded_can_be_set_in_both_ways():
    asked = Settings.read(["--image-aspect", "pad"], {"FITPRUNE_ATTN": "eager", "FITPRUNE_QUANTIZE": "4bit"})
    assert asked.loading == LoadOptions(image_aspect="pad", attn_implementation="eager", quantization="4bit")
    assert Settings.read([], {"FITPRUNE_IMAGE_ASPECT": "crop"}).loading.image_aspect == "crop"


def test_a_space_says_where_to_listen():
    assert Settings.read([], {"GRADIO_SERVER_NAME": "0.0.0.0"}).host == "0.0.0.0"


def test_limits_can_be_set_in_both_ways():
    asked = Settings.read(["--max-waiting", "5"], {"FITPRUNE_MAX_SECONDS": "60", "FITPRUNE_MAX_WAITING": "7"})
    assert asked.limits == Limits(max_waiting=5, max_seconds=60)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--max-pixels", "0"], {}),
        (["--max-question", "2001"], {}),
        ([], {"FITPRUNE_MAX_UPLOAD_MB": "much"}),
        (["--port", "x"], {}),
        (["--port", "70000"], {}),
        ([], {"FITPRUNE_PORT": "0"}),
        (["--nonsense"], {}),
    ],
)
def test_what_cannot_be_ends_with_one_line_and_status_2(arguments, environment, capsys):
    with pytest.raises(SystemExit) as ended:
        Settings.read(arguments, environment)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
