"""3. Single layers, the search for a recipe, and what a fit looks at."""

from __future__ import annotations

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import Board, Way
from app.evidence.figures import panels
from app.evidence.numbers import (
    Correlation,
    is_nested,
    partial_spearman,
    single_layer_recipe,
    spearman,
    stability,
)
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, CHOICE
from app.evidence.section import Section, Table
from app.evidence.ways import tests_against, way_rows
from app.evidence.words import NOTHING, budget, estimate_cell, outcomes, p_cell, sentence, share_cell
from fitprune_core import AttentionStatistics, PruningRecipe, model_name
from fitprune_core.evaluation.significance import SIGNIFICANT
from fitprune_core.models.family import family_of
from fitprune_core.recipes.fit import ALPHA_STEPS, fitter_for

TITLE = "Single layers, the search, and what the fit looks at"
QUESTION = (
    "Does the stability of a layer's attention tell what dropping there costs; does the search find what is asked; and "
    "does it matter whether the fit looks at self-attention, cross-attention or both?"
)
# Dropped at one layer and nowhere else: enough that early layers hurt.
SINGLE_SHARE = 0.75
FITS = {"both": ("fitprune",), "self": ("fitprune", "self-only"), "cross": ("fitprune", "cross-only")}
SEARCH_COLUMNS = ("asked", "achieved", "alpha", "meets", "is_nested_in_the_next", "removed")


def run(bench: Bench) -> Section:
    """Three small experiments on the questions to choose by, so that the test questions stay untouched."""
    statistics = bench.statistics(bench.sets[CALIBRATION])
    section = Section(TITLE, QUESTION)
    single, stable = _single(bench, statistics, section)
    recipes = _search(bench, statistics, section)
    said = _fits(bench, statistics, section)
    found, stays = [stable[layer] for layer in single], list(single.values())
    section.figures["3-layers"] = _figure(stable, single, recipes)
    section.answer = answer_of(
        spearman(found, stays),
        recipes,
        said,
        spearman(list(single), stays),
        partial_spearman(found, stays, list(single)),
    )
    section.counted = "FLOPs, alphas and counts of the recipes"
    section.measured = "attention over the calibration samples, and answers to the questions to choose by"
    return section


def answer_of(
    found: Correlation | None,
    recipes: list[PruningRecipe],
    said: str,
    of_depth: Correlation | None = None,
    with_depth_held: Correlation | None = None,
) -> str:
    """The sentence: the correlation, that of a layer's number alone and what that leaves, the search, and the fits."""
    if found is None:
        words = "there are too few layers, or too little damage, for a rank correlation"
    else:
        how = "does not tell, beyond chance," if found.p > SIGNIFICANT else "goes with"
        words = (
            f"how stable a layer's order of the tokens is {how} the share of answers that stay when it alone drops "
            f"{budget(SINGLE_SHARE)} (rank correlation {estimate_cell(found)}, p {p_cell(found.p)}"
        )
        for what, each in {"of the layer's number alone": of_depth, "with that held": with_depth_held}.items():
            words += "" if each is None else f"; {what} {each.value:.2f}, p {p_cell(each.p)}"
        words += ")"
    worst = max(recipes, key=lambda recipe: abs(recipe.achieved_reduction - recipe.reduction), default=None)
    if worst is not None:
        error = 100 * abs(worst.achieved_reduction - worst.reduction)
        words += f". The search meets every budget to within {error:.2f} points, at the worst"
    return f"{sentence(words)} {sentence(said)}"


def _single(
    bench: Bench, statistics: AttentionStatistics, section: Section
) -> tuple[dict[int, float], dict[int, float]]:
    """Answers where one layer alone drops: layer to the share of answers that stay, and to its stability."""
    tokens, layers = statistics.num_visual_tokens, bench.geometry.num_layers
    first = family_of(bench.model.config).first_drop_layer(bench.model.config)
    empty = PruningRecipe.empty(layers, tokens, model_name(bench.model))
    variants = [
        variant("fitprune", single_layer_recipe(empty, bench.geometry, layer, SINGLE_SHARE), f"layer {layer + 1} alone")
        for layer in range(first, layers - 1)
    ]
    board = bench.answers("3-single-layers", bench.sets[CHOICE], variants)
    stable = dict(enumerate(stability(statistics)))
    rows, kept = [], {}
    for layer, each in enumerate(variants, first):
        way = (each.name, each.reduction)
        if (same := board.same(way)) is None:
            continue
        kept[layer] = same.value
        rows.append(
            [
                str(layer + 1),
                f"{stable[layer]:.3f}",
                share_cell(same),
                share_cell(board.right(way)),
                budget(each.reduction),
            ]
        )
    about = (
        f"{budget(SINGLE_SHARE)} of the tokens dropped by fitprune's ranking at one layer alone, {board.count} "
        "questions. Stability: Spearman's correlation of the importance of the tokens at this layer with their mean "
        "importance in all layers after it, mean over the calibration samples. The last layer, after which nothing is "
        "attended to, is left out."
    )
    section.tables.append(Table(["layer", "stability", "as the original", "right", "FLOPs saved"], rows, about))
    section.raw.append(board.path)
    stable_rows = [{"layer": layer + 1, "stability": value} for layer, value in stable.items()]
    section.raw.append(bench.write("3-stability", ("layer", "stability"), stable_rows))
    return kept, stable


def _search(bench: Bench, statistics: AttentionStatistics, section: Section) -> list[PruningRecipe]:
    """A recipe for each budget: what was asked, what was met, at which alpha, and whether more is always more."""
    recipes = bench.recipes(statistics, bench.plan.search_budgets)
    fitter, rows, raw = fitter_for(statistics), [], []
    for recipe, following in zip(recipes, [*recipes[1:], None], strict=True):
        nested = NOTHING if following is None else "yes" if is_nested(recipe, following) else "no"
        meets = "yes" if abs(recipe.achieved_reduction - recipe.reduction) <= 5e-4 else "no"
        removed = " ".join(map(str, recipe.removed))
        values = (recipe.reduction, recipe.achieved_reduction, recipe.alpha, meets, nested, removed)
        raw.append(dict(zip(SEARCH_COLUMNS, values, strict=True)))
        rows.append([budget(recipe.reduction), f"{100 * recipe.achieved_reduction:.2f} %", f"{recipe.alpha:.4f}", meets,
                     nested, removed])  # fmt: skip
    alphas = [recipe.alpha or 0.0 for recipe in recipes]
    grows = [float(fitter.mean_removed(step, "both").sum()) for step in range(0, ALPHA_STEPS + 1, ALPHA_STEPS // 64)]
    falls = "never falls" if alphas == sorted(alphas) else "falls somewhere"
    fewer = "never become fewer" if grows == sorted(grows) else "become fewer somewhere"
    about = (
        "Recipes from one set of statistics. Nested: after every layer the next larger budget has at least as many "
        "tokens gone; where a narrow decoder lets few layers drop that may break. "
        f"Alpha {falls} as the budget grows, and the tokens removed {fewer} as alpha grows (65 of them), "
        f"as a search by halves needs; it halves a grid of {ALPHA_STEPS}, which takes {ALPHA_STEPS.bit_length()} "
        "steps at most. What the authors' search takes is in the section about both fits."
    )
    section.tables.append(
        Table(["asked", "achieved", "alpha", "within 0.05 points", "nested", "removed at each layer"], rows, about)
    )
    section.raw.append(bench.write("3-search", SEARCH_COLUMNS, raw))
    return recipes


def _fits(bench: Bench, statistics: AttentionStatistics, section: Section) -> str:
    """Answers by recipes that were fitted on one kind of attention or both; what the tests say, in words."""
    variants: list[Variant] = []
    for attention, methods in FITS.items():
        for recipe in bench.recipes(statistics, bench.plan.section_budgets, attention=attention):
            variants += [variant(method, recipe, f"{attention} fit, {method}") for method in methods]
    board = bench.answers("3-fits", bench.sets[CHOICE], variants)
    base = "both fit, fitprune"
    p_values = tests_against(board, base)
    section.tables.append(_fits_table(board, p_values, base))
    section.raw.append(board.path)
    tests = {
        f"the {name.replace(' fit, ', '-attention fit with ')}": (
            board.against((base, at), (name, at)),
            p_values.get((name, at)),
        )
        for name, at in board.ways[1:]
        if at == KEY_BUDGET and name != base
    }
    found = outcomes(tests, "than")
    return f"with {budget(KEY_BUDGET)} saved, the fit to both kinds of attention, ranked by fitprune: {found}"


def _fits_table(board: Board, p_values: dict[Way, float | None], base: str) -> Table:
    rows = way_rows(board, base, p_values.get)
    about = (
        f"{board.count} questions. A fit says how many tokens go at which layer, by the attention that it looks at; "
        "the name after it ranks them. p corrected together (Holm)."
    )
    return Table(["fit, ranking", "right", "as the original", f"against {base}"], rows, about)


def _figure(stable: dict[int, float], single: dict[int, float], recipes: list[PruningRecipe]):
    figure, (left, right) = panels(["Stability and what stays, by layer", "How far a budget is missed"])
    for layer, value in single.items():
        # The layer's number is its mark: layers of like stability lie close, and numbers beside dots would overlap.
        left.text(stable[layer], 100 * value, str(layer + 1), color="#1f7a8c", ha="center", va="center")
    left.update_datalim([(stable[layer], 100 * value) for layer, value in single.items()])
    left.margins(0.08)
    left.autoscale_view()
    left.set_xlabel("stability of the layer's order of the tokens")
    left.set_ylabel("answers as the original's, %")
    asked = [100 * recipe.reduction for recipe in recipes]
    missed = [100 * (recipe.achieved_reduction - recipe.reduction) for recipe in recipes]
    right.axhline(0, color="#222222", linewidth=0.8)
    right.plot(asked, missed, "o", color="#1f7a8c", ms=4)
    right.set_xlabel("asked, %")
    right.set_ylabel("achieved less asked, points")
    return figure
