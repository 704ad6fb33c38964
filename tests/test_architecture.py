"""The rules of the house, read off the source: who may import whom, nothing happens at import, no model's numbers."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "fitprune_core"
CORE_FILES = sorted(CORE.rglob("*.py"))
ALL_FILES = sorted([*CORE_FILES, *(ROOT / "app").rglob("*.py"), *ROOT.glob("app.py")])

# Sizes of LLaVA-1.5-7B. Code that needs one reads it off a configuration; only a converter may know its own family.
LITERALS_OF_ONE_MODEL = {576, 4096, 11008, 336}

# Calls that read files or weights, and have no business at the top of a module.
LOADING_CALLS = {"from_pretrained", "load_model", "open", "load", "read_text", "read_bytes", "run", "main"}


def name_of(path: Path) -> str:
    """The dotted name of a module of the project; of a script beside the packages, its file name."""
    if path.parent == ROOT:
        # app.py has its folder's name, and "import app" means the folder.
        return path.name
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names of everything that a file imports, at its top or inside a function."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return frozenset(found)


@cache
def imports_at_top_of(path: Path) -> frozenset[str]:
    """As `imports_of`, but only what runs when the file itself is imported."""
    lazy = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(inner) for function in lazy for inner in ast.walk(function)}
    typing_only = {
        id(inner)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    kept = ast.Module(
        [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Import | ast.ImportFrom)
         and id(n) not in inside | typing_only], []
    )  # fmt: skip
    names = {alias.name for node in kept.body if isinstance(node, ast.Import) for alias in node.names}
    for node in kept.body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return frozenset(names)


def relative(paths):
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in paths]


@pytest.mark.parametrize(
    "path", relative(path for path in CORE_FILES if path.parent.name in ("checks", "cost", "recipes"))
)
def test_arithmetic_needs_no_model_library(path):
    assert {name.split(".")[0] for name in imports_of(path)}.isdisjoint({"torch", "transformers", "PIL"})


def test_attention_is_tensors_in_and_tensors_out():
    imported = imports_of(CORE / "pruning" / "attention.py")
    assert "transformers" not in {name.split(".")[0] for name in imported}


@pytest.mark.slow
def test_no_imports_in_a_circle():
    modules = {name_of(path): path for path in ALL_FILES}
    graph = {name: sorted(imports_at_top_of(path) & modules.keys() - {name}) for name, path in modules.items()}
    done, trail = set(), []

    def visit(name: str) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            trail.append(name)
            for other in graph[name]:
                visit(other)
            done.add(trail.pop())

    for name in sorted(graph):
        visit(name)


def statements_at_import(tree: ast.Module):
    """Statements that run when a module is imported: all that are in no function and not behind __name__."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        yield node
        waiting += [inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)]


@pytest.mark.parametrize("path", relative(CORE_FILES))
def test_nothing_happens_at_import(path):
    for node in statements_at_import(tree_of(path)):
        words = f"line {node.lineno}: {ast.unparse(node)[:100]}"
        # A call whose value is not kept is there for what it does to something else.
        assert not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)), words
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # Assigning to an attribute or an item of something imported is a patch.
            assert not any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets), words
            called = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
            names = {
                function.attr if isinstance(function, ast.Attribute) else ast.unparse(function) for function in called
            }
            assert names.isdisjoint(LOADING_CALLS), words


# llava_hr is the one family whose sizes are written down.
@pytest.mark.parametrize("path", relative(path for path in CORE_FILES if "llava_hr" not in path.parts))
def test_no_literal_of_one_model(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            assert node.value not in LITERALS_OF_ONE_MODEL, f"line {node.lineno}: {node.value}"


@pytest.mark.parametrize("path", relative(ALL_FILES))
def test_files_stay_surveyable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.slow
@pytest.mark.parametrize("path", relative(sorted((ROOT / "tests" / "benchmarks").glob("*.py"))))
def test_benchmarks_can_be_imported(path):
    """`make test` does not run them, so a name that has moved would be found out much later."""
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
