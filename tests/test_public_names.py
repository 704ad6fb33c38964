import ast
import subprocess
import sys
from pathlib import Path

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
    heavy = {"torch", "transformers", "gradio", "PIL", "numpy"}
    code = f"import sys, fitprune_core; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_type_checkers_see_every_public_name_at_home():
    """`TYPE_CHECKING` imports and lazy exports are one list, so that `reveal_type(fp.load_model)` is not Any."""
    tree = ast.parse(Path(fp.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.asname: node.module for node in block.body for alias in node.names}
    assert typed == {name: f"fitprune_core.{home}" for name, home in fp._HOME.items()}
