import pytest
import torch

from fitprune_core import prune_visual_tokens
from fitprune_core.cost.request import SCORE_KINDS
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods import METHODS, Candidates, Method, find_method
from fitprune_core.pruning.methods.base import option_defaults
from fitprune_core.pruning.methods.fitprune import FitPrune
from fitprune_core.pruning.methods.random import Random
from fitprune_core.pruning.methods.registry import find_methods
from fitprune_core.recipes.schedules import Drops
from tests.pruned import recipe_of


@pytest.fixture
def attention():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 4, 60, 8, generator=generator)
    return LayerAttention(query, key, 0.5, visual=slice(10, 50), text_after=slice(50, 60))


def everything(num_kept=15) -> Candidates:
    return Candidates(torch.arange(40), 40, num_kept)


def kept(method, attention, candidates) -> list[int]:
    """Tokens that stay, by the rule of a drop: the lowest go."""
    order = method.importance(attention, candidates).argsort(stable=True)
    return candidates.tokens[order[len(order) - candidates.num_kept :]].sort().values.tolist()


def test_registry_is_by_name():
    assert set(METHODS) >= {"fitprune", "self-only", "cross-only", "last-token", "random", "uniform", "fastv"}
    for name, method in METHODS.items():
        assert method.name == name and method.scores in SCORE_KINDS
    assert isinstance(find_method("fitprune"), FitPrune)
    mine = Random(seed=3)
    assert find_method(mine) is mine
    assert find_method(METHODS["random"]) == Random()
    with pytest.raises(ValueError, match="'fastest'.*fitprune, self-only"):
        find_method("fastest")
    with pytest.raises(ValueError, match="method is None; give the name of one"):
        find_method(None)


def test_options_whose_default_is_none_say_what_that_stands_for():
    for method in METHODS.values():
        unsaid = {name for name, default in option_defaults(method).items() if default is None}
        assert set(method.usual) == unsaid


def test_fastv_says_after_which_layer_it_dropped():
    assert find_method("fastv").placed(Drops(0, (0, 20, 0, 1))) == "after layer 2, as in its paper"
    assert find_method("fastv").placed(Drops(0, (20, 0, 0, 0))) == "after layer 1"
    assert find_method("fastv:layer=3").placed(Drops(0, (0, 0, 9, 1))) == "after layer 3"
    assert find_method("fastv").placed(Drops(0, (0, 0))) == find_method("random").placed(Drops(0, (9, 9))) == ""


def test_options_follow_the_name_and_belong_to_the_label():
    assert find_method("random:seed=1") == Random(seed=1) != find_method("random")
    assert {text: find_method(text).label for text in METHODS} == {text: text for text in METHODS}
    assert find_method("random:seed=0").label == "random"
    assert find_method("random:seed=1").label == "random(seed=1)"
    assert find_method("random:seed=1,schedule=one-shot@3").label == "random(seed=1, schedule=one-shot@3)"
    assert find_method("fastv:layer=3").label == "fastv(layer=3)"
    assert find_method("fitprune+:layer=3").label == "fitprune+(layer=3)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random:sed=1", "no option 'sed=1'; it has seed, schedule, as in random:seed=VALUE"),
        ("random:seed", "no option 'seed'"),
        ("random:seed=1,seed=2", "method random is given seed twice, in 'seed=1,seed=2'"),
        ("visionzip-dominant:seed=1", "visionzip-dominant has no option 'seed=1'; it has none"),
        ("fitprune:seed=1", "fitprune has no option 'seed=1'"),
        ("random:seed=-1", "seed must be a whole number from 0 up, not -1"),
        ("fitprune:schedule=before", "schedule is 'before', but fitprune ranks by attention"),
        ("uniform:schedule=later", "schedule is 'later'; choose one of recipe"),
        ("cross-only:schedule=withdrawal", "schedule is 'withdrawal', but cross-only ranks by attention"),
        ("fitprune+:layer=half", "layer must be a whole number from 1 up, not 'half'"),
        ("fastv:layer=0", "layer must be a whole number from 1 up, not 0"),
        ("pyramiddrop:stages=1", "stages must be a whole number from 2 up, not 1"),
        ("random:seed=many", "seed must be a whole number from 0 up, not 'many'"),
    ],
)
def test_options_that_cannot_be_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        find_method(text)


def test_a_method_of_ones_own_needs_no_dataclass():
    class Mine(Method):
        name, scores = "mine", "none"

        def __init__(self, power=2):
            self.power = power

        def importance(self, attention, candidates):
            return candidates.tokens**self.power

    assert [Mine().label, Mine(3).label, find_method(Mine(3)).label] == ["mine", "mine(power=3)", "mine(power=3)"]


@pytest.mark.parametrize("name", METHODS)
def test_each_candidate_gets_one_importance(attention, name):
    found_before = Candidates(torch.arange(40), 40, 15, before=torch.arange(40.0))
    importance = METHODS[name]().importance(attention, found_before)
    assert importance.shape == (40,)


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize("planned", [Drops(12, (0, 0, 0, 0)), Drops(0, (3, 0, 0, 0))])
def test_a_method_of_ones_own_is_followed_where_it_drops_before_its_recipe(tiny, inputs, planned):
    class Earlier(Method):
        name, scores = "earlier", "none"

        def drops(self, recipe, geometry, num_visual_tokens):
            return planned

        def importance_before(self, features, candidates):
            return candidates.tokens.float()

        def importance(self, attention, candidates):
            return candidates.tokens.float()

    with prune_visual_tokens(tiny[0], recipe_of((0, 0, 12, 9)), method=Earlier()) as trace:
        tiny[0](**inputs)
    gone = planned.before + sum(planned.removed)
    assert [kept.tolist() for kept in trace.kept] == [list(range(gone, 36))] * 4


class Reversed(FitPrune):
    """A method under the name that its base class has."""

    def importance(self, attention, candidates):
        return -super().importance(attention, candidates)


def test_two_methods_may_not_share_a_label():
    assert list(find_methods(["fitprune", FitPrune(), "random", Random(1)])) == ["fitprune", "random", "random(seed=1)"]
    one, other = (method_that_finds(lambda candidates: candidates.tokens, name="mine") for _ in range(2))
    with pytest.raises(ValueError, match="two methods are called mine, Own and Own; give one a name of its own"):
        find_methods([one, other()])


def method_that_finds(found, **attributes):
    """An instance of a class of methods with these attributes, whose `importance` returns `found(candidates)`."""
    body = {"name": "own", "scores": "none", "importance": lambda self, _, candidates: found(candidates)} | attributes
    return type("Own", (Method,), {key: value for key, value in body.items() if value is not None})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": None}, "Own has no name"),
        ({"scores": None}, "Own has no scores"),
        ({"name": "original"}, "Own is called original, as the model as it is; give the class another name"),
        ({"name": "fitprune"}, "Own is called fitprune, as the library's own FitPrune; give the class another name"),
        ({"name": "random(seed=1)"}, r"Own is called random\(seed=1\), as the library's own Random"),
        ({"importance": None}, "Own says nothing of importance"),
        ({"__init__": lambda self, k: None}, "option k of Own has no default"),
        ({"__init__": lambda self, k=1: None}, "Own keeps its option k under another name"),
    ],
)
def test_a_method_that_lacks_what_others_rely_on_is_refused(tiny, attributes, message):
    with pytest.raises(ValueError, match=message):
        find_methods([method_that_finds(lambda candidates: candidates.tokens, **attributes)])


@pytest.mark.parametrize("given", [Reversed, Reversed(), Reversed(schedule="one-shot")])
def test_a_class_that_inherits_the_name_of_a_method_is_refused(given):
    with pytest.raises(ValueError, match="Reversed is called fitprune, as the library's own FitPrune"):
        find_method(given)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda candidates: candidates.tokens[1:], r"torch.int64 of shape \((\d+),\)"),
        (lambda candidates: candidates.tokens.sum(), r"of shape \(\)"),
        (lambda candidates: candidates.tokens[:, None], r"of shape \(\d+, 1\)"),
        (lambda candidates: candidates.tokens.to(torch.complex64), "torch.complex64"),
        (lambda candidates: candidates.tokens.tolist(), "not list"),
        (lambda candidates: (candidates.tokens - 3.0).sqrt(), r"own gave NaN for 3 of 36 tokens; each needs a real"),
    ],
)
def test_scores_that_are_no_ranking_are_refused(tiny, inputs, found, message):
    own = method_that_finds(found)()
    with prune_visual_tokens(tiny[0], recipe_of(), method=own), pytest.raises(ValueError, match=message):
        tiny[0](**inputs)


def test_nan_before_the_decoder_is_refused_and_infinity_is_a_number(tiny, inputs):
    attributes = {
        "drops": lambda *_: Drops(4, (0, 0, 0, 0)),
        "importance_before": lambda self, features, candidates: candidates.tokens.float().log() - self.shift,
    }
    own = method_that_finds(None, **attributes, shift=0.0)
    with torch.no_grad(), prune_visual_tokens(tiny[0], recipe_of(), method=own) as trace:
        tiny[0](**inputs)
    assert trace.dropped_before.tolist() == [0, 1, 2, 3]  # the first has minus infinity
    own = method_that_finds(None, **attributes, shift=-torch.inf)
    with (
        prune_visual_tokens(tiny[0], recipe_of(), method=own),
        pytest.raises(ValueError, match="own gave NaN for 1 of 36"),
    ):
        tiny[0](**inputs)


@pytest.mark.parametrize("removed", [(-5, 0, 0, 0), (300, 0, 0, 0), (1, 1, 1), (1, 1, 1, 1, 1)])
def test_drops_that_cannot_be_are_refused(tiny, removed):
    own = method_that_finds(lambda candidates: candidates.tokens, drops=lambda *_: Drops(0, removed))
    with (
        pytest.raises(ValueError, match="the drops of own: removed"),
        prune_visual_tokens(tiny[0], recipe_of(), method=own),
    ):
        raise AssertionError("the block was entered")


def test_fitprune_is_the_product(attention):
    product = attention.self_attention() * attention.cross_attention()
    assert torch.equal(METHODS["fitprune"]().importance(attention, everything()), product)
    assert torch.equal(METHODS["self-only"]().importance(attention, everything()), attention.self_attention())
    assert torch.equal(METHODS["cross-only"]().importance(attention, everything()), attention.cross_attention())
    assert torch.equal(METHODS["fastv"]().importance(attention, everything()), attention.last_query_attention())


def test_fitprune_plus_ranks_by_attention_only_where_nothing_went_before(attention):
    plus, before = METHODS["fitprune+"](), torch.arange(40.0).flip(0)
    product = attention.self_attention() * attention.cross_attention()
    assert torch.equal(plus.importance(attention, everything()), product)
    assert plus.importance(attention, Candidates(torch.arange(40), 40, 15, before=before)) is before


def test_random_is_seeded_and_does_not_depend_on_earlier_drops(attention):
    first = kept(Random(), attention, everything())
    assert first == kept(Random(), attention, everything()) != kept(Random(seed=1), attention, everything())
    later = Candidates(torch.tensor(first), 40, 6)
    assert kept(Random(), attention, later) == kept(Random(), attention, everything(6))


@pytest.mark.parametrize("num_kept", [1, 7, 20, 39, 40])
def test_uniform_is_evenly_spaced(attention, num_kept):
    chosen = kept(METHODS["uniform"](), attention, everything(num_kept))
    assert len(chosen) == num_kept
    gaps = {b - a for a, b in zip(chosen, chosen[1:], strict=False)}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    assert abs(chosen[0] - (39 - chosen[-1])) <= 40 / num_kept


@pytest.mark.parametrize("method", [METHODS["random"](), METHODS["uniform"]()])
def test_the_order_of_baselines_is_made_where_their_tokens_are(attention, method):
    there = method.importance(attention, everything())
    with torch.device("meta"):
        assert torch.equal(method.importance(attention, Candidates(torch.arange(40, device="cpu"), 40, 15)), there)


def test_uniform_of_nothing(attention):
    assert METHODS["uniform"]().importance(attention, everything(0)).sum() == 0
