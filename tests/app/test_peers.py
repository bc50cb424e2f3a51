"""Which models stand side by side: those with the same examples, layers and heads."""

import pytest

from clsight.errors import AppError
from clsight.loading import load
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from clsight_app.catalog import Catalog
from clsight_app.peers import member_names, peers_of
from clsight_app.state import Selection

STRATEGIES = ["learned", "zeros", "fixed_random", "random_per_forward"]


def test_peers_are_stacked_by_strategy(catalog):
    peers = peers_of(catalog, Selection("digits-zeros", 3))
    assert peers.stacked["strategy"].values.tolist() == STRATEGIES
    assert (peers.reference, peers.left_out) == ("zeros", {})
    assert peers.models["fixed_random"] == "digits-fixed-random"
    one = catalog.record("digits-learned", 3)["attends_to"]
    assert (peers.stacked["attends_to"].sel(strategy="learned").values == one.values).all()


def test_model_with_other_layers_is_left_out_with_the_reason(sample_paths, tmp_path):
    examples = load(sample_paths[0]).examples
    config = ModelConfig(
        classes=10, width=8, heads=4, layers=2, embedding="patch", image_size=(8, 8), patch_size=(2, 2)
    )
    arrays = {"inputs": examples.inputs, "labels": examples.labels}
    save_model(ClassificationTransformer(config), tmp_path / "flat", arrays=arrays)
    peers = peers_of(Catalog([*sample_paths[:2], tmp_path / "flat"]), Selection("digits-learned"))
    assert list(peers.models.values()) == ["digits-learned", "digits-zeros"]
    assert "equal `layer`" in peers.left_out["flat"]


def test_one_model_alone_is_told(sample_paths):
    with pytest.raises(
        AppError, match="expected another loaded model with the same examples, layers and heads"
    ):
        peers_of(Catalog(sample_paths[:1]), Selection("digits-learned"))


@pytest.mark.parametrize("strategies", [("learned", "learned"), ("learned", "")])
def test_members_have_the_names_of_models_when_strategies_do_not_tell_them_apart(strategies):
    models = dict(zip(("a", "b"), strategies, strict=True))
    assert member_names(models) == {"a": "a", "b": "b"}
