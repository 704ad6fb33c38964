import subprocess
import sys

import pytest

import fitprune_core as fp


@pytest.mark.parametrize("name", fp.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fp, name) is not None
    assert name in dir(fp)


def test_what_users_script_against():
    fixed = {
        "load_model",
        "build_inputs",
        "collect_statistics",
        "AttentionStatistics",
        "fit_recipe",
        "fit_recipe_sequential",
        "PruningRecipe",
        "prune_visual_tokens",
        "visual_reduction",
    }
    assert fixed <= set(fp.__all__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        _ = fp.prune


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, fitprune_core; print([m for m in ('torch', 'transformers', 'gradio') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
