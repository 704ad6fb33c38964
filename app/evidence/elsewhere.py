"""The report's last section: the same report of a real model, on somebody's GPU."""

from __future__ import annotations

from dataclasses import dataclass

from app.evidence.plan import FULL, Plan
from app.evidence.section import Table
from app.evidence.sections import asked_again
from fitprune_core import METHODS


@dataclass(frozen=True)
class Family:
    """A family, one of its checkpoints on the Hub, its parameters in billions by its name, what to know."""

    name: str
    checkpoint: str
    billions: float
    about: str
    flags: str = ""


FAMILIES = (
    Family(
        "LLaVA-1.5", "llava-hf/llava-1.5-7b-hf", 7, "pictures padded, as its authors measure", " --image-aspect pad"
    ),
    Family("LLaVA-NeXT", "llava-hf/llava-v1.6-vicuna-7b-hf", 7, "up to five times the visual tokens of LLaVA-1.5"),
    Family("LLaVA-OneVision", "llava-hf/llava-onevision-qwen2-7b-ov-hf", 8, "tiles"),
    Family("InternVL3", "OpenGVLab/InternVL3-8B-hf", 8, "tiles"),
    Family("Qwen2.5-VL", "Qwen/Qwen2.5-VL-7B-Instruct", 8, "pictures at their own size"),
    Family(
        "Qwen3-VL", "Qwen/Qwen3-VL-8B-Instruct", 8, "no drop before deepstack's last layer: some methods are refused"
    ),
    Family("SmolVLM2", "HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2.2, "tiles with text between them"),
    Family("Pixtral", "mistral-community/pixtral-12b", 12, "pictures at their own size"),
    Family("Mistral3", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", 24, "pictures at their own size"),
    Family("LLaVA-HR", "llava-hr-7b-1024", 7, "a folder, made by `python -m fitprune_core.models.llava_hr.convert`"),
)

# Third-party, arXiv 2411.17686 (FiCoCo): the original and FitPrune's 60 % recipe.
QUOTED = (
    ("benchmark", "VQAv2", "GQA", "TextVQA", "POPE", "MMBench"),
    ("LLaVA-1.5-7B", "78.5", "61.9", "58.2", "85.9", "64.3"),
    ("FitPrune at 4.4 TFLOPs (its 60 % recipe)", "78.3", "61.5", "58.2", "86.5", "64.6"),
)


def markdown(number: int) -> str:
    """The section, under its number."""
    plan = FULL
    rows = [
        [each.name, f"`python -m app.evidence --model {each.checkpoint} --samples samples.jsonl --out evidence/"
         f"{each.checkpoint.rpartition('/')[2]}{each.flags}`", f"{2 * each.billions:.0f} GB", each.about]
        for each in FAMILIES
    ]  # fmt: skip
    commands = Table(
        ["family", "command", "weights in 16 bits", "to know"], rows,
        "Weights: two bytes a parameter, counted by the checkpoint's name; activations and cache come on top. "
        "**None of these was run by this project**: published weights have not been run at all.",
    )  # fmt: skip
    quoted = Table(
        QUOTED[0], QUOTED[1:], "Quoted, not measured here: FiCoCo's authors (arXiv 2411.17686) of LLaVA-1.5-7B."
    )
    return "\n\n".join([f"## {number}. The same report of a real model", _HOW.format(answers=f"{answers_of(plan):,}"),
                        commands.markdown(), quoted.markdown(), _OTHERS]) + "\n"  # fmt: skip


def answers_of(plan: Plan) -> int:
    """About how many answers the sections of a plan take where there is no drawn world: what a GPU has to give."""
    methods, orders, best_options, again = len(METHODS), 2, 2, 2 * len(asked_again.METHODS)
    on_all = plan.test * (1 + (methods + orders + best_options + again) * len(plan.budgets))
    on_few = plan.few * (1 + methods * len(plan.curve_budgets) + 35 * len(plan.section_budgets))
    tried = len(asked_again.HARDER) * len(asked_again.METHODS) + 20  # options, single layers, fits
    return on_all + on_few + plan.choice * (1 + tried * len(plan.budgets))


_HOW = """The command is the same, with a model and a file of questions with right answers:
`{{"id": "17", "image": "17.png", "question": "Is there a dog?", "answer": "yes", "kind": "presence"}}`, one a line. The
file is cut in three by picture, a fifth to calibrate on, a fifth to choose by, the rest to compare; nothing is tested
on what it was fitted on. An answer counts as right if it is the expected one but for case and full stop, so it suits
benchmarks with short exact answers (POPE, GQA, ScienceQA's letters), not VQAv2's or TextVQA's soft marks; let the
questions ask for one word, as those benchmarks do. Expect about {answers} answers with the whole plan, `--few N` and
`--test N` for fewer; a run that was stopped goes on when the same command is given again, and several GPUs share it
through `accelerate launch -m app.evidence ...`. What needs the drawn world (how many calibration samples, transfer
between worlds, easy-VQA) is left out, and the report says so."""

_OTHERS = """For the paper's benchmarks with their own marks use lmms-eval (assets/guide/benchmarks.md) once with
`reduction=0` and once with a budget, both with `--log_samples`: the app's Inspect page opens the two logs side by side,
with the same intervals and tests. It opens every table of answers in `raw/` of this report as well (those with the
columns `id`, `reduction`, `method` and `answer`): hand in results as that folder."""
