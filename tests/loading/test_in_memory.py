"""A module in memory as a subject: what it takes and how long its sequence is, found out by trying."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.errors import ClsightError
from clsight.loading import Examples, subject_of
from doctor.forum_classifier import ClassificationTransformer
from encoder_builders import randomize
from user_modules import (
    FEATURES,
    HEADS,
    TIME,
    USERS,
    VOCABULARY,
    WIDTH,
    Abreast,
    Attentions,
    FixedForum,
    Pictures,
    Series,
    Text,
    TimeFirst,
)


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.kind.__name__)
def test_subject_of_a_users_module_is_captured_with_its_token_map(user):
    module = randomize(user.kind())
    subject = subject_of(module, cls_index=user.stated.get("cls_index", 0))
    assert (subject.takes, subject.name) == (user.takes, user.kind.__name__)
    record = clsight.capture(subject, subject.examples)
    own = clsight.capture(module, subject.prepare(subject.examples).inputs, cls_index=subject.cls_index)
    np.testing.assert_array_equal(record.attends_to, own.attends_to)
    kinds = record.token_kind.values
    assert np.unique(kinds[:, subject.cls_index]).tolist() == ["cls"]
    assert int((kinds[0] == "cls").sum()) == 1
    assert subject.token_kinds[0] == ("cls" if subject.cls_index == 0 else "step")


def test_class_of_the_thread_has_no_cls_among_its_tokens():
    subject = subject_of(ClassificationTransformer(WIDTH, HEADS, 2))
    assert subject.token_kinds == ("step",)
    assert subject.prepare(subject.examples).token_kind.shape == subject.examples.inputs.shape[:2]
    assert clsight.capture(subject, subject.examples).sizes["token"] == subject.examples.inputs.shape[1]


@pytest.mark.parametrize(
    ("module", "shape", "label"),
    [
        (Series(), (TIME, FEATURES), "synthetic series, seed 0"),
        (FixedForum(), (12, WIDTH), "synthetic series, seed 0"),
        (Text(), (TIME,), "random token ids, seed 0"),
        (Pictures(), (12, 12, 3), "synthetic pictures, seed 0"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_examples_are_made_in_the_shape_that_runs(module, shape, label):
    subject = subject_of(randomize(module))
    assert subject.examples.inputs.shape[1:] == shape
    assert subject.provenance["examples"] == label
    again = subject_of(module)
    np.testing.assert_array_equal(subject.examples.inputs, again.examples.inputs)
    for examples in (subject.examples, subject.examples[1:3], subject.examples[0]):
        assert clsight.capture(subject, examples).attrs["examples"] == label
    assert "examples" not in clsight.capture(subject, subject.examples.inputs).attrs


def test_token_map_of_pictures_has_rows_and_columns():
    subject = subject_of(randomize(Pictures()))
    prepared = subject.prepare(subject.examples)
    assert prepared.row[0].tolist() == [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert prepared.column[0].tolist() == [-1, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert prepared.inputs.shape == (4, 1, 12, 12)


def test_length_that_positions_demand_is_told_from_one_that_they_bound():
    class Exact(Series):
        def forward(self, x):
            x = torch.cat([self.cls_vector.expand(len(x), 1, WIDTH), self.to_tokens(x)], dim=1)
            return self.head(self.encoder(x + self.pos_embedding)[:, 0])

    shorter = np.zeros((1, TIME - 1, FEATURES))
    with pytest.raises(ClsightError, match=f"expected time={TIME}, but got time={TIME - 1}"):
        subject_of(randomize(Exact())).prepare(shorter)
    bounded = subject_of(randomize(Series()))
    assert bounded.prepare(shorter).token_text.shape == (1, TIME)
    with pytest.raises(ClsightError, match=f"expected at most time={TIME}, but got time={TIME + 1}"):
        bounded.prepare(np.zeros((1, TIME + 1, FEATURES)))


def test_tokens_of_ids_are_shown_as_ids():
    subject = subject_of(randomize(Text()))
    ids = np.array([[VOCABULARY - 1, 0, 7]])
    assert subject.prepare(ids).token_text.tolist() == [["[CLS]", "29", "0", "7"]]
    assert subject.prepare("29 0 7").token_text.tolist() == [["[CLS]", "29", "0", "7"]]


def test_extra_keys_of_attention_are_named():
    subject = subject_of(randomize(Attentions()))
    assert subject.prepare(subject.examples).token_text[0, -1] == "[extra key]"


def test_examples_of_the_caller_are_kept():
    examples = Examples(np.random.default_rng(0).normal(size=(3, 6, FEATURES)), np.array([0, 1, 2]))
    subject = subject_of(randomize(Series()), examples=examples, name="mine", classes=("a", "b", "c", "d"))
    assert subject.examples is examples
    assert subject.provenance["examples"] == "the caller's own"
    record = clsight.capture(subject, examples)
    assert record.attrs["model"] == "mine"
    assert record.class_name.values.tolist() == ["a", "b", "c", "d"]
    assert record.label.values.tolist() == [0, 1, 2]


def test_module_that_nothing_runs_through_has_no_examples():
    class Pair(Series):
        def forward(self, x, temperature):
            return super().forward(x) / temperature

    subject = subject_of(randomize(Pair()))
    assert subject.examples is None
    assert subject.provenance["examples"].startswith("none: no made-up input runs")


def test_trying_leaves_the_module_and_the_random_state_as_they_were():
    module = randomize(ClassificationTransformer(WIDTH, HEADS, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    subject = subject_of(module)
    subject.prepare(subject.examples)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert all(weight.grad is None for weight in module.parameters())


@pytest.mark.parametrize(
    ("module", "raw", "message"),
    [
        (
            Series(),
            np.zeros((2, 4, 3)),
            "expected numbers [sample, time, feature=5], but got float64 [2, 4, 3]",
        ),
        (Series(), np.full((1, 4, FEATURES), np.nan), "but got NaN or infinity in sample=0"),
        (Text(), np.array([[0, 30]]), "expected token ids from 0 to 29, but got 0 to 30"),
        (Text(), "five", "expected token ids, whole numbers"),
        (Text(), np.zeros((1, 2)), "expected token ids [sample, time], but got float64 [1, 2]"),
        (Pictures(), np.zeros((1, 3, 12, 12)), "expected pictures [sample, channel=1, height=12, width=12]"),
        (TimeFirst(), Examples(np.zeros((1, 4, FEATURES)), None, np.eye(1, 4, dtype=bool)), "no token_mask"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_prepare_refuses_inputs_that_do_not_fit(module, raw, message):
    with pytest.raises(ClsightError) as caught:
        subject_of(randomize(module)).prepare(raw)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("ids.txt", "3 1 4\n1 5 9\n"), ("ids.csv", "3,1,4\n1,5,9\n")])
def test_ids_are_read_from_text_files(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    subject = subject_of(randomize(Text()))
    assert subject.read(str(tmp_path / name)).inputs.tolist() == [[3, 1, 4], [1, 5, 9]]
    np.save(tmp_path / "ids.npy", np.array([3, 1]))
    assert subject.read(tmp_path / "ids.npy").inputs.tolist() == [[3, 1]]


@pytest.mark.parametrize("cls_index", [13, -14])
def test_cls_index_beyond_the_sequence_is_refused(cls_index):
    with pytest.raises(ClsightError, match="`cls_index`: expected a position from 0 to 12, but got"):
        subject_of(randomize(FixedForum()), cls_index=cls_index)


@pytest.mark.parametrize(
    ("within", "layers", "first"), [("left", 1, "step 0"), ("right", 2, "[CLS]"), ("right.1", 1, "[CLS]")]
)
def test_the_encoder_that_is_meant_gets_its_own_token_map(within, layers, first):
    module = randomize(Abreast())
    before = {name: len(part._forward_hooks) for name, part in module.named_modules()}
    subject = subject_of(module, within=within)
    record = clsight.capture(subject, subject.examples)
    own = clsight.capture(module, subject.prepare(subject.examples).inputs, within=within)
    np.testing.assert_array_equal(record.attends_to, own.attends_to)
    assert record.sizes["layer"] == layers
    texts = record.token_text.values[0].tolist()
    assert texts[0] == first
    assert texts[1:] == [f"step {time}" for time in range(first != "[CLS]", len(texts) - (first == "[CLS]"))]
    assert before == {name: len(part._forward_hooks) for name, part in module.named_modules()}


def test_a_submodule_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ClsightError) as refusal:
        subject_of(Abreast(), within="rihgt")
    assert str(refusal.value) == (
        "`within`: expected the name of a submodule, but got 'rihgt'. Did you mean `right`? Options: left, "
        "left.layers, right, right.0, right.1, to_tokens."
    )


class Lazy(nn.Module):
    """A class whose first layer takes its width from the first input."""

    def __init__(self):
        super().__init__()
        self.project = nn.LazyLinear(WIDTH)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 40, batch_first=True), 2
        )

    def forward(self, x):
        return self.encoder(self.project(x))[:, 0]


def test_weights_without_a_size_are_refused_before_a_made_up_input_gives_them_one():
    module = Lazy()
    with pytest.raises(ClsightError) as refusal:
        subject_of(module)
    assert str(refusal.value) == (
        "`Lazy`: expected weights that have their sizes, but got `project.weight` and 1 more without. Let "
        "one input of yours run through the module first, which gives them their sizes."
    )
    assert isinstance(module.project.weight, nn.UninitializedParameter)
    module(torch.ones(1, 3, FEATURES))
    assert subject_of(module).takes == "series"
