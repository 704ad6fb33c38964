"""What is asked, how often, and with which seeds: one plan for the evidence, one to try the pipeline by."""

from __future__ import annotations

from dataclasses import dataclass

# Seeds of `app.demo_model.samples`: the samples of one seed are scenes that no other seed draws, and training none of
# them. What recipes are fitted on, what variants are chosen by, and what methods are compared on lie apart. While the
# weights, the fit and fitprune+ were made, answers to questions of seeds 30, 31, 77 and 78 were looked at: they test
# nothing any more.
CALIBRATION_SEED = 10
FURTHER_CALIBRATION_SEEDS = (11, 12, 13, 14, 15)
CHOICE_SEED = 20
TEST_SEED = 32

# The budget that a section's sentence speaks of.
KEY_BUDGET = 0.8


@dataclass(frozen=True)
class Plan:
    """Counts and budgets. Budgets are shares of visual FLOPs to save.

    Attributes:
        is_check: whether it only checks that everything runs: its numbers mean nothing.
        calibration: samples behind a recipe, unless a section says otherwise.
        choice, test, few: questions to choose by, to compare methods on, and for comparisons of which there are many.
        further_choice: questions to choose a margin by, which few answers fall below.
        easy_vqa: questions of easy-VQA's test split, evenly spread over it.
        budgets, curve_budgets: for every method on all test questions, and further ones on the few.
        easy_budgets: for every method on easy-VQA.
        section_budgets: for all other sections that answer questions.
        search_budgets: for recipes alone, which no question is answered with.
        calibration_sizes, answered_sizes: samples behind a recipe where that is the question; those that also answer.
        sequential_samples, sequential_budgets: for the authors' fit, which runs the model for every trial.
        timed_questions, timed_rounds: for times; no round, no time.
        max_new_tokens: longest answer.
        whole_easy_vqa: whether fitprune+ and its rivals are asked all of easy-VQA's test split as well.
    """

    is_check: bool
    calibration: int
    choice: int
    further_choice: int
    test: int
    few: int
    easy_vqa: int
    budgets: tuple[float, ...]
    curve_budgets: tuple[float, ...]
    easy_budgets: tuple[float, ...]
    section_budgets: tuple[float, ...]
    search_budgets: tuple[float, ...]
    calibration_sizes: tuple[int, ...]
    answered_sizes: tuple[int, ...]
    sequential_samples: int
    sequential_budgets: tuple[float, ...]
    timed_questions: int
    timed_rounds: int
    max_new_tokens: int = 64
    whole_easy_vqa: bool = False

    def __post_init__(self) -> None:
        if KEY_BUDGET not in self.budgets or KEY_BUDGET not in self.section_budgets:
            raise ValueError(f"a plan needs the budget {KEY_BUDGET:g}, which the report's sentences speak of")


# About 130,000 answers of mini-llava and its relatives, and its attention over 21,000 samples: an hour of two cores.
FULL = Plan(
    is_check=False,
    calibration=256,
    choice=120,
    further_choice=500,
    test=2000,
    few=250,
    easy_vqa=300,
    budgets=(0.6, 0.8),
    curve_budgets=(0.2, 0.4, 0.9, 0.95),
    easy_budgets=(0.6, 0.8, 0.9),
    section_budgets=(0.6, 0.8),
    search_budgets=tuple(percent / 100 for percent in range(5, 96, 5)),
    calibration_sizes=(8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    answered_sizes=(8, 64, 512, 4096),
    sequential_samples=24,
    sequential_budgets=(0.2, 0.4, 0.6, 0.8),
    timed_questions=12,
    timed_rounds=4,
)

QUICK = Plan(
    is_check=True,
    calibration=6,
    choice=4,
    further_choice=4,
    test=8,
    few=6,
    easy_vqa=4,
    budgets=(0.8,),
    curve_budgets=(0.4, 0.9),
    easy_budgets=(0.8,),
    section_budgets=(0.8,),
    search_budgets=(0.1, 0.3, 0.5, 0.7, 0.9),
    calibration_sizes=(2, 4),
    answered_sizes=(4,),
    sequential_samples=2,
    sequential_budgets=(0.8,),
    timed_questions=1,
    timed_rounds=0,
    max_new_tokens=24,
)
