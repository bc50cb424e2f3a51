"""The thread's question asked of a trained model: does MiniLM need the value its [CLS] was trained to?"""

import pytest
import torch

import clsight
from clsight.cls_token import replaced
from clsight.loading.subject import ClsVector
from replaceable_models import subject_of
from trained_encoder import trained_bert

CLS = 101  # of the vocabulary of BERT


@pytest.fixture(scope="module")
def minilm():
    module, inputs = trained_bert()
    table = module.get_input_embeddings().weight
    return subject_of(module, inputs, ClsVector(table, row=CLS)), inputs


def states(module, inputs):
    with torch.no_grad():
        return module(**inputs).last_hidden_state


@pytest.mark.slow
def test_zeros_for_cls_are_as_if_they_had_been_embedded_at_its_position(minilm):
    subject, inputs = minilm
    ids = inputs["input_ids"]
    assert (ids[:, 1:] == CLS).any()  # a sentence says "[CLS]" too, which is looked up as ever
    embedded = subject.module.get_input_embeddings()(ids).detach().clone()
    embedded[:, 0] = 0
    rest = {name: tensor for name, tensor in inputs.items() if name != "input_ids"}
    expected = states(subject.module, {"inputs_embeds": embedded, **rest})
    with replaced(subject, "zeros"):
        assert torch.equal(states(subject.module, inputs), expected)
    assert not torch.equal(states(subject.module, inputs), expected)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zeros", "fixed_random", "random_per_forward"])
def test_minilm_hardly_needs_the_value_of_its_cls(minilm, strategy):
    """The numbers of the example in the docstring of `replaced`, with room for other machines."""
    subject, inputs = minilm
    trained = clsight.capture(subject.module, inputs)
    before = states(subject.module, inputs)[:, 0]
    with replaced(subject, strategy):
        found = clsight.capture(subject.module, inputs)
        after = states(subject.module, inputs)[:, 0]
    moved = abs(found.attends_to - trained.attends_to).sum("token").mean(["sample", "head"]) / 2
    assert float(found.attention_error.max()) < 1e-5
    assert 0.1 < float(moved[0]) < 0.4
    assert float(moved[1:].max()) < 0.05
    assert float(torch.cosine_similarity(before, after).min()) > 0.99
