"""Terms of the first layer's CLS query, against sums of embeddings by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_decompositions as reference
from clsight.interventions import query_decomposition
from decomposed_models import minilm, model
from encoder_builders import SAMPLES, WIDTH, randomize, torch_encoder


def embedding_terms(embeddings, ids):
    """Return the terms of the CLS state that a BERT's embeddings hand to the first layer."""
    tables = {
        name: reference.array(getattr(embeddings, name).weight)
        for name in ("word_embeddings", "token_type_embeddings", "position_embeddings")
    }
    parts = {
        "word_embeddings": tables["word_embeddings"][ids[0]],
        "token_type_embeddings": tables["token_type_embeddings"][0],
        "position_embeddings": tables["position_embeddings"][0],
    }
    norm = reference.norm(embeddings.LayerNorm)
    whole = sum(parts.values())
    terms = {name: reference.scaled(part, whole, norm) for name, part in parts.items()}
    return terms | {"norm bias": norm[1]}


def check(found, case, terms_of, prefix=""):
    for sample, layers in enumerate(case.samples):
        real = case.mask[sample]
        scores = reference.query_scores(case.blocks[0], layers[0], terms_of(sample), case.cls_index)
        shares, together = reference.variance_shares(scores, real)
        here = found.isel(sample=sample)
        assert {name.removeprefix(prefix) for name in found.part.values} == set(scores)
        for name in found.part.values:
            key, part = name.removeprefix(prefix), here.sel(part=name)
            np.testing.assert_allclose(part.score[:, real], scores[key][:, real], atol=1e-11)
            assert part.score[:, ~real].isnull().all()
            np.testing.assert_allclose(part.share, shares[key], atol=1e-10)
            np.testing.assert_allclose(part.share_of_heads, together[key], atol=1e-10)
    np.testing.assert_allclose(found.share.sum("part"), 1, atol=1e-12)


@pytest.mark.parametrize("name", ["BERT", "BERT, eager"])
def test_terms_of_bert_are_those_of_its_embeddings(name):
    case = model(name)
    ids, embeddings = case.inputs["input_ids"].numpy(), case.module.bert.embeddings
    found = query_decomposition(case.module, case.inputs)
    check(found, case, lambda sample: embedding_terms(embeddings, ids[sample]), "bert.embeddings.")


@pytest.mark.parametrize("name", ["ViT", "ViT, not fused, LayerScale"])
def test_terms_of_a_vision_transformer_are_its_token_and_its_position(name):
    case = model(name)
    token, position = (reference.array(getattr(case.module, key)) for key in ("cls_token", "pos_embed"))
    parts = {"cls_token": token[0, 0], "pos_embed": position[0, 0]}
    norm, whole = case.blocks[0].norm_1, sum(parts.values())
    terms = {key: reference.scaled(part, whole, norm) for key, part in parts.items()} | {"norm bias": norm[1]}
    check(query_decomposition(case.module, case.inputs), case, lambda _: terms)


def test_what_enters_from_outside_is_one_term():
    case = model("torch, post-norm, token first")
    check(
        query_decomposition(case.module, case.inputs),
        case,
        lambda sample: {"input": case.samples[sample][0].x[0]},
    )


def test_terms_of_a_pre_norm_encoder_are_what_enters_and_its_norm():
    case = model("torch, pre-norm, CLS second")
    norm = case.blocks[0].norm_1

    def terms(sample):
        entering = case.samples[sample][0].x[case.cls_index]
        return {"input": reference.scaled(entering, entering, norm), "norm bias": norm[1]}

    check(query_decomposition(case.module, case.inputs, cls_index=case.cls_index), case, terms)


class Biased(nn.Module):
    """Attention with a bias of its own on each pair of positions, fused or written out."""

    def __init__(self, fused):
        super().__init__()
        self.fused, self.maps = fused, nn.Linear(WIDTH, 3 * WIDTH)
        self.bias = nn.Parameter(torch.randn(4, 5, 5))

    def forward(self, x):
        query, key, value = self.maps(x).reshape(SAMPLES, -1, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        if self.fused:
            return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        scores = query @ key.transpose(-2, -1) * (WIDTH // 4) ** -0.5
        return torch.softmax(scores + self.bias, dim=-1) @ value


@pytest.mark.parametrize("fused", [True, False])
def test_position_bias_is_refused(fused):
    with pytest.raises(clsight.CaptureError) as refused:
        query_decomposition(randomize(Biased(fused)), torch.randn(SAMPLES, 5, WIDTH))
    assert str(refused.value).startswith(
        "`query_decomposition`: expected scores that are a multiple of query · key, but got scores "
        "that differ from one by "
    )
    assert str(refused.value).endswith(
        "A relative position bias, or a mask between real tokens, may be added to them. "
        "Look at `query` and `attends_to` in a record instead."
    )


def test_shares_of_the_trained_model_are_those_of_the_published_measurement():
    """On four other texts: word .16 to .25, type −.09 to −.05, position .55 to .61, query bias .27 to .30."""
    case = minilm()
    found = query_decomposition(case.module, case.inputs)
    ids = case.inputs["input_ids"].numpy()
    check(found, case, lambda sample: embedding_terms(case.module.embeddings, ids[sample]), "embeddings.")
    shares = found.share_of_heads.to_series().unstack("part")
    published = {
        "embeddings.word_embeddings": (0.16, 0.25),
        "embeddings.token_type_embeddings": (-0.09, -0.05),
        "embeddings.position_embeddings": (0.55, 0.61),
        "norm bias": (0.00, 0.03),
        "query bias": (0.27, 0.30),
    }
    for name, (low, high) in published.items():
        assert shares[name].between(low - 0.1, high + 0.1).all(), shares[name]  # of other texts


def test_one_token_has_no_share_and_says_why():
    module = torch_encoder()().double()
    found = query_decomposition(module, torch.randn(2, 1, WIDTH, dtype=torch.float64))
    assert found.share.isnull().all()
    assert found.share_of_heads.isnull().all()
    assert (
        found.share.attrs["reason"]
        == "the scores of a head are the same for all tokens, or there is one token"
    )


def test_query_behind_a_norm_is_refused():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps, self.norm = nn.Linear(WIDTH, 3 * WIDTH), nn.LayerNorm(WIDTH // 4)

        def forward(self, x):
            query, key, value = self.maps(x).reshape(SAMPLES, -1, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
            return nn.functional.scaled_dot_product_attention(self.norm(query), key, value)

    with pytest.raises(clsight.CaptureError) as refused:
        query_decomposition(randomize(Normed()), torch.randn(SAMPLES, 5, WIDTH))
    assert str(refused.value) == (
        "`query_decomposition`: expected a linear map that gives the query of CLS in the first layer, but "
        "got none before the first attention call: a norm, a rotation or a window may stand between. "
        "Look at `query` in a record instead."
    )
