"""The user's own class: imported by name, made, and filled with weights; each mistake is one sentence."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.errors import CheckpointError
from clsight.loading import load
from clsight.loading.user_class import imported, made
from doctor.forum_classifier import ClassificationTransformer
from encoder_builders import randomize
from user_modules import FEATURES, HEADS, WIDTH, Abreast, FixedForum, Series

MODULE = """
import torch
from torch import nn


class Mine(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.cls = nn.Parameter(torch.ones(1, 1, width))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 2, 12, batch_first=True), 2)

    def forward(self, x):
        return self.encoder(torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1))[:, 0]


class Demanding(Mine):
    def __init__(self, width, depth):
        super().__init__(width)


def broken():
    raise RuntimeError("no weights\\nat home")


def nothing():
    return None


NUMBER = 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a folder with a user's code that the process stands in; what it imports is forgotten after."""
    (tmp_path / "mycode").mkdir()
    (tmp_path / "mycode" / "models.py").write_text(MODULE)
    (tmp_path / "failing.py").write_text("import absent_library\n")
    (tmp_path / "unfinished.py").write_text("def f(:\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in {"mycode", "failing", "unfinished"}]:
        del sys.modules[name]


def message_of(function, *arguments, **options):
    with pytest.raises(CheckpointError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_load_into_the_class_by_its_name(project):
    kind = imported("mycode.models:Mine")
    module = randomize(kind())
    torch.save(module.state_dict(), project / "weights.pt")
    subject = load(project / "weights.pt", factory=kind)
    x = subject.prepare(subject.examples).inputs
    assert torch.equal(subject.module(x), module(x))
    assert subject.token_kinds == ("cls", "step")
    assert (subject.name, subject.provenance["format"]) == ("weights", "weights of Mine")
    assert (subject.provenance["missing"], subject.provenance["unexpected"]) == ({}, {})
    assert "forward" not in subject.provenance
    torch.testing.assert_close(subject.cls_vector.values, module.cls.flatten())


def test_map_is_that_of_the_module_itself(tmp_path):
    module = randomize(Series())
    torch.save({"state_dict": {f"net.{k}": v for k, v in module.state_dict().items()}}, tmp_path / "a.ckpt")
    subject = load(tmp_path / "a.ckpt", factory=Series)
    inputs = np.random.default_rng(0).normal(size=(3, 7, FEATURES)).astype(np.float32)
    record = clsight.capture(subject, inputs)
    own = clsight.capture(module, torch.from_numpy(inputs))
    np.testing.assert_array_equal(record.attends_to, own.attends_to)
    np.testing.assert_array_equal(record.logits, own.logits)


def test_folder_of_a_trainer_is_opened_by_its_weights(tmp_path):
    module = randomize(FixedForum())
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "training_args.bin").write_bytes(b"never opened")
    subject = load(tmp_path, factory=FixedForum)
    torch.testing.assert_close(subject.cls_vector.values, module.cls_token.flatten())


def test_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    message = message_of(load, tmp_path, factory=FixedForum)
    assert "expected a file of weights, or a folder with model.safetensors or pytorch_model.bin" in message
    assert "but got a folder with notes.txt" in message


def test_module_itself_is_copied_and_filled(tmp_path):
    module = ClassificationTransformer(WIDTH, HEADS, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = randomize(ClassificationTransformer(WIDTH, HEADS, 2)).state_dict()
    torch.save(weights, tmp_path / "m.pt")
    subject = load(tmp_path / "m.pt", factory=module)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in subject.module.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert subject.token_kinds == ("step",)  # the bug of the thread: [CLS] does not enter


def test_cls_index_is_the_callers(tmp_path):
    torch.save(randomize(Series()).state_dict(), tmp_path / "m.pt")
    assert load(tmp_path / "m.pt", factory=Series, cls_index=-1).cls_index == -1


def test_weights_of_another_class_are_refused(tmp_path):
    torch.save(Series().state_dict(), tmp_path / "m.pt")
    assert "expected the module's" in message_of(load, tmp_path / "m.pt", factory=FixedForum)


def test_options_for_bare_state_dicts_are_refused_beside_a_factory(tmp_path):
    torch.save(Series().state_dict(), tmp_path / "m.pt")
    message = message_of(load, tmp_path / "m.pt", factory=Series, heads=4)
    assert "`heads`: expected no such option for weights of your own class, but got heads=4." in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mycode.models", "`--model`: expected package.module:factory, but got 'mycode.models'."),
        (":Mine", "expected package.module:factory, but got ':Mine'."),
        ("my code:Mine", "expected package.module:factory, but got 'my code:Mine'."),
        ("mycode.modles:Mine", "but got no module mycode.modles. Run clsight in the folder"),
        ("nocode.models:Mine", "but got no module nocode. Run clsight in the folder"),
        ("mycode.models:Mien", "but got no such name. Did you mean `Mine`? Options: Demanding, Mine, broken"),
        ("mycode.models:NUMBER", "but got an object of type int."),
        ("failing:Mine", "expected failing to import, but got ModuleNotFoundError: No module named 'absent"),
        ("unfinished:f", "expected unfinished to import, but got SyntaxError: "),
        ("leaving:f", "expected leaving to import, but got SystemExit: 3."),
    ],
)
def test_name_that_cannot_be_imported_is_a_sentence(project, name, message):
    assert message in message_of(imported, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Demanding",
            "`Demanding`: expected a class or function that needs no arguments, but got one that needs "
            "width, depth. Name a function that gives them, such as `def make(): return Demanding(width=..., "
            "depth=...)`.",
        ),
        (
            "broken",
            "`broken`: expected a module when it is called, but got RuntimeError: no weights at home. Call "
            "it yourself in Python to see the traceback.",
        ),
        (
            "nothing",
            "`nothing`: expected a module when it is called, but got an object of type NoneType. Return the "
            "module itself.",
        ),
    ],
)
def test_factory_that_makes_no_module_is_a_sentence(project, name, message):
    assert message in message_of(made, imported(f"mycode.models:{name}"))


def test_factory_may_have_defaults_and_need_no_signature(project):
    assert isinstance(made(imported("mycode.models:Mine")), nn.Module)
    assert isinstance(made(lambda *several, **named: nn.Linear(2, 3)), nn.Linear)


def test_object_that_is_no_factory_is_refused():
    assert message_of(made, 5) == (
        "`factory`: expected a module, or a class or function that makes one, but got an object of type int. "
        "Pass the class, or a function around it."
    )


def test_a_factory_in_python_is_named_as_it_is_there(tmp_path):
    torch.save(Series().state_dict(), tmp_path / "m.pt")
    assert message_of(load, tmp_path / "m.pt", factory=lambda: 3) == (
        "`<lambda>`: expected a module when it is called, but got an object of type int. Return the module "
        "itself."
    )


@pytest.mark.parametrize("given", ["a factory", "the module"])
def test_weights_without_a_size_take_no_file(tmp_path, given):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "m.pt")
    factory = (lambda: nn.LazyLinear(3)) if given == "a factory" else nn.LazyLinear(3)
    assert message_of(load, tmp_path / "m.pt", factory=factory) == (
        "`LazyLinear`: expected weights that have their sizes, but got `weight` and 1 more without. Let "
        "one input of yours run through the module first, which gives them their sizes."
    )


def test_one_of_several_encoders_is_chosen(tmp_path):
    torch.save(randomize(Abreast()).state_dict(), tmp_path / "m.pt")
    subject = load(tmp_path / "m.pt", factory=Abreast, within="right")
    record = clsight.capture(subject, subject.examples)
    assert record.token_text.values[0, 0] == "[CLS]"
    assert record.layer_name.values.tolist() == ["right.0", "right.1"]
    assert "`within`: expected no such option for a bare state dict" in message_of(
        load, tmp_path / "m.pt", heads=HEADS, within="right"
    )
