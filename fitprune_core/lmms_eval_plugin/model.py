"""The class that lmms-eval makes and asks. Importing it needs lmms-eval (`pip install -e ".[lmms]"`)."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from loguru import logger
from tqdm import tqdm

from fitprune_core.lmms_eval_plugin import MODEL_NAME
from fitprune_core.lmms_eval_plugin.answering import Answerer, Pending
from fitprune_core.lmms_eval_plugin.arguments import Arguments
from fitprune_core.lmms_eval_plugin.decoding import decoding_of_task
from fitprune_core.lmms_eval_plugin.summary import Summary
from fitprune_core.models.devices import describe_device, device_of_process
from fitprune_core.models.loading import model_name


class FitPruneLlava(lmms):
    """A LLaVA that answers with a share of its visual compute.

    Its arguments are those of `Arguments`. Under `accelerate launch` every process holds the whole model and answers
    its part of the documents. Raises ValueError for arguments that cannot be.
    """

    is_simple = True

    def __init__(self, **given: Any) -> None:
        super().__init__()
        arguments = Arguments.from_given(given)
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        device = device_of_process(arguments.device, self._world_size, self.accelerator.local_process_index)
        self._answerer: Answerer | None = Answerer.load(arguments, device)
        self._batch_size = arguments.batch_size
        self._summary = Summary()
        self._warned: set[tuple[str, str]] = set()
        model, recipe = self._answerer.model, self._answerer.recipe
        self._device = model.device
        budget = "nothing is pruned"
        if recipe is not None:
            budget = f"{recipe.achieved_reduction:.2%} of visual FLOPs saved, ranked by {arguments.method}"
        logger.info(f"{model_name(model)} on {describe_device(model)}: {budget}")

    @property
    def device(self) -> torch.device:
        """Where this process's model is; lmms-eval gathers counts there."""
        return self._device

    @property
    def batch_size(self) -> int | str:
        """Requests at once, as it was asked for."""
        return self._batch_size

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """The answers, in the order of the requests.

        The longest prompts come first, so that one that does not fit is found out at once. Raises ValueError naming
        task and document for a request that cannot be answered: a score over the others would be another benchmark's.
        """
        if self._answerer is None:
            raise ValueError(f"{MODEL_NAME} was cleaned up, and answers no more")
        results = [GenerationResult("")] * len(requests)
        # Requests for padding make the processes' counts equal for models that run in lockstep; nobody reads them.
        real = [number for number, request in enumerate(requests) if not request.metadata.get("__padding_only__")]
        order = sorted(real, key=lambda number: -len(requests[number].args[0]))
        asked = (self._ask(self._answerer, requests[number], number) for number in order)
        replies = tqdm(
            self._answerer.replies(asked), total=len(order), desc="answering", unit="request", disable=self.rank != 0
        )
        for one, reply in replies:
            counts = TokenCounts(input_tokens=reply.prompt_tokens, output_tokens=reply.new_tokens)
            results[one.number] = GenerationResult(reply.text, counts)
            self._summary.add(requests[one.number].args[4], reply)
        return results

    def _ask(self, answerer: Answerer, request: Instance, number: int) -> Pending:
        context, options, doc_to_visual, doc_id, task, split = request.args
        pictures = doc_to_visual(self.task_dict[task][split][doc_id])
        try:
            decoding, warnings = decoding_of_task(options)
        except ValueError as error:
            raise ValueError(f"{task}: {error}") from error
        for warning in warnings:
            if (task, warning) not in self._warned:
                self._warned.add((task, warning))
                logger.warning(f"{task}: {warning}")
        return answerer.ask(pictures, context, decoding, f"document {doc_id} of {task}", number)

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """None of the paper's ten benchmarks asks for it."""
        raise ValueError(_refusal(requests, "the likelihood of given answers"))

    def generate_until_multi_round(self, requests: list[Instance]) -> NoReturn:
        """None of the paper's ten benchmarks asks for it."""
        raise ValueError(_refusal(requests, "answers in several rounds"))

    def clean(self) -> None:
        """After the last request, in every process: report what was counted, and let go of the model."""
        summary = Summary.of_all(gather_object([self._summary]))
        if self.rank == 0 and summary.tasks:
            for line in summary.lines():
                logger.info(f"{MODEL_NAME}, {line}")
            log_metrics(**summary.metrics())
        self._summary, self._answerer = Summary(), None
        super().clean()


def _refusal(requests: list[Instance], what: str) -> str:
    tasks = ", ".join(dict.fromkeys(str(request.task_name) for request in requests))
    return f"{tasks} asks for {what}; {MODEL_NAME} generates one answer a document, so choose another task"
