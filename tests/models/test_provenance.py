"""What is remembered of a model, so that its results are told from another's."""

import pytest
import torch

from fitprune_core.models.provenance import weights_digest
from tests.tiny import tiny_llava


def test_a_changed_number_is_another_model():
    model, _ = tiny_llava()
    before = weights_digest(model)
    assert weights_digest(model) == before
    with torch.no_grad():
        model.lm_head.weight[-1, -1] += 1
    assert weights_digest(model) != before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_model_has_one_though_not_all_that_it_keeps_are_tensors():
    model, _ = tiny_llava()
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    assert weights_digest(quantised) != weights_digest(model)
