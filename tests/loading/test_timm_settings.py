"""What timm does not list, and what a config may not ask for, is refused before it is built."""

import pytest
from safetensors.torch import save_file

import clsight
from clsight.errors import CheckpointError
from encoder_builders import declare_torchvision_operators, timm
from loading.timm_files import SMALL, folder_with


@pytest.fixture(autouse=True)
def importable_torchvision():
    declare_torchvision_operators()


@pytest.fixture
def weights(tmp_path):
    """A file for `timm:test_vit`, the smallest architecture of timm, with four classes."""
    module = timm("test_vit", num_classes=4)()
    file = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), file)
    return module, file


def refusal(*given, **options):
    with pytest.raises(CheckpointError) as refused:
        clsight.load(*given, **options)
    return str(refused.value)


@pytest.mark.parametrize("name", ["hf-hub:timm/vit", "test_vitt", "hf_hub:a/b", "local-dir:/tmp", ""])
def test_a_name_that_timm_does_not_list_is_refused(weights, name):
    assert "expected a name in timm.list_models(), but got" in refusal(
        weights[1], architecture=f"timm:{name}"
    )


def test_a_near_name_is_offered(weights):
    says = refusal(weights[1], architecture="timm:test_vitt")
    assert "Did you mean `test_vit`" in says


def test_an_unknown_tag_is_refused(weights):
    says = refusal(weights[1], architecture="timm:test_vit.mine")
    assert says == (
        "`architecture`: expected a tag of `test_vit` that timm knows, but got `mine`. "
        "Leave it out: timm:test_vit."
    )


def test_weights_of_a_larger_architecture_are_refused_before_it_is_built(weights):
    says = refusal(weights[1], architecture="timm:vit_giant_patch14_224")
    assert "expected the 1,0" in says
    assert "numbers of vit_giant_patch14_224" in says


def test_a_model_without_a_sequence_of_patches_is_refused(tmp_path):
    module = timm("test_resnet")()
    file = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), file)
    assert "expected a vision transformer with one sequence of patches, but got a ResNet" in refusal(
        file, architecture="timm:test_resnet"
    )


def test_weights_without_one_layer_are_refused(tmp_path, weights):
    module, _ = weights
    tensors = {name: tensor for name, tensor in module.state_dict().items() if "blocks.3." not in name}
    file = tmp_path / "cut.safetensors"
    save_file(tensors, file)
    says = refusal(file, architecture="timm:test_vit")
    assert (
        "expected all weights of the model, but got none for 12 of them, such as `blocks.3.norm1.weight`"
        in says
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "hf-hub:someone/model"}, "a name in timm.list_models()"),
        (
            {"model_args": {"depth": 10**9}},
            "`model_args.depth`: expected a value of its kind and in its range",
        ),
        ({"model_args": {"embed_dim": 10**6}}, "`model_args.embed_dim`"),
        ({"model_args": {"img_size": 10**6}}, "`model_args.img_size`"),
        ({"model_args": {"depth": True}}, "`model_args.depth`"),
        ({"model_args": {"depth": "2"}}, "`model_args.depth`"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "model_args that clsight knows"),
        ({"model_args": {"block_fn": "os.system"}}, "model_args that clsight knows"),
        ({"model_args": {"norm_layer": "__import__('os')"}}, "`model_args.norm_layer`"),
        ({"model_args": {"norm_layer": "nonsense"}}, "settings that timm can build"),
        ({"model_args": {"num_heads": 7}}, "settings that timm can build"),
        ({"model_args": []}, None),
        ({"model_args": [1]}, "`pretrained_cfg` and `model_args` as tables"),
        ({"num_classes": 10**12}, "`num_classes`"),
        ({"pretrained_cfg": {"mean": [1, 2]}}, "`mean`"),
        ({"pretrained_cfg": {"std": [0, 0, 0]}}, "`std`"),
        ({"pretrained_cfg": {"input_size": [3, 10**9, 10**9]}}, "`input_size`"),
        ({"pretrained_cfg": {"input_size": 224}}, "`input_size`"),
        ({"pretrained_cfg": {"input_size": {"a": 3, "b": 4, "c": 5}}}, "`input_size`"),
        ({"pretrained_cfg": {"crop_pct": 1e-9}}, "`crop_pct`"),
        ({"pretrained_cfg": {"interpolation": "magic"}}, "`interpolation`"),
        ({"pretrained_cfg": {"crop_mode": ["center"]}}, "`crop_mode`"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(changes, says, tmp_path):
    folder_with(tmp_path, "test_vit", dict(num_classes=4), **{"model_args": {}, **changes})
    if says is None:
        clsight.load(tmp_path)
    else:
        assert says in refusal(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder_with(tmp_path, *SMALL["a class token"])
    (tmp_path / "model.safetensors").unlink()
    assert "expected model.safetensors or pytorch_model.bin, but got neither" in refusal(tmp_path)


def test_weights_outside_the_folder_are_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    folder_with(folder, *SMALL["a class token"])
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    refusal(folder)
