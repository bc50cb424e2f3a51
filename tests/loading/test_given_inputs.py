"""A user's own input counts: where the module runs on it, it is taken, whatever a made-up one could do."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from changing_sequences import Around, flattened
from clsight.errors import ClsightError
from clsight.loading import Examples, subject_of
from user_modules import CLASSES, FEATURES, WIDTH, Pictures, layer

GENERATOR = np.random.default_rng(0)


def turned(convolution, x):
    return convolution(x.transpose(1, 2)).transpose(1, 2)


def as_it_is(convolution, x):
    return convolution(x).transpose(1, 2)


class Rectangle(nn.Module):
    """Positions for eight patches, which are no square."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.pos = nn.Parameter(torch.rand(1, 8, WIDTH))
        self.cls = nn.Parameter(torch.rand(1, 1, WIDTH))
        self.encoder = nn.TransformerEncoder(layer(), 2)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.encoder(torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1))[:, 0])


def series(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def pictures(*shape):
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


CASES = {
    "convolution over time": (lambda: Around(turned, nn.Conv1d(FEATURES, WIDTH, 3, padding=1)), (3, 11, 5)),
    "features first": (lambda: Around(as_it_is, nn.Conv1d(FEATURES, WIDTH, 3, padding=1)), (3, 5, 11)),
    "wide features": (lambda: Around(turned, nn.Conv1d(12, WIDTH, 3, padding=1)), (3, 11, 12)),
}


@pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES.keys())
def test_series_through_a_convolution_is_made_up_and_taken(make, shape):
    torch.manual_seed(0)
    subject = subject_of(make())
    assert subject.token_kinds == ("cls", "step")
    assert subject.provenance["examples"] == "synthetic series, seed 0"
    given = series(*shape)
    record = clsight.capture(subject, given)
    own = clsight.capture(subject.module, torch.from_numpy(given))
    np.testing.assert_array_equal(record.attends_to, own.attends_to)
    assert record.token_text.values[0].tolist() == ["[CLS]", *(f"step {time}" for time in range(11))]


def test_table_with_a_row_for_each_step_enters_with_its_features_first(tmp_path):
    subject = subject_of(Around(as_it_is, nn.Conv1d(FEATURES, WIDTH, 3, padding=1)))
    table = series(11, FEATURES)
    np.savetxt(tmp_path / "one.csv", table, delimiter=",")
    read = subject.prepare(tmp_path / "one.csv").inputs.numpy()
    np.testing.assert_allclose(read, table.T[None], rtol=1e-6)


@pytest.mark.parametrize("grid", [(2, 4), (4, 2), (1, 8)])
def test_pictures_keep_their_shape_where_the_module_runs_on_it(grid):
    subject = subject_of(Rectangle())
    assert subject.examples.inputs.shape[1:] == (16, 32, 3)
    given = pictures(2, grid[0] * 8, grid[1] * 8, 3)
    prepared = subject.prepare(given)
    assert (prepared.row.max() + 1, prepared.column.max() + 1) == grid
    pixels = torch.from_numpy(given).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(prepared.inputs, pixels)


def test_pictures_on_which_it_does_not_run_are_scaled():
    subject = subject_of(Pictures())
    assert subject.prepare(pictures(2, 20, 16, 3)).inputs.shape == (2, 1, 12, 12)


def test_gray_pictures_are_taken_as_they_are_stored():
    torch.manual_seed(0)
    subject = subject_of(Around(flattened, nn.Conv2d(1, WIDTH, 7, 7)))
    given = pictures(3, 28, 35)
    prepared = subject.prepare(given)
    torch.testing.assert_close(prepared.inputs[:, 0], torch.from_numpy(given) / 255, atol=2e-3, rtol=0)
    assert (prepared.row.max(), prepared.column.max()) == (3, 4)


def test_input_of_another_kind_than_was_guessed_is_taken():
    class Halves(Around):
        def forward(self, x):
            return super().forward(x.reshape(len(x), -1, 2 * x.shape[2]))

    subject = subject_of(Halves(lambda embed, x: embed(x), nn.Linear(2 * FEATURES, WIDTH)))
    record = clsight.capture(subject, series(3, 10, FEATURES))
    assert record.sizes["token"] == 6


def test_what_the_module_does_not_run_on_is_refused():
    subject = subject_of(Rectangle())
    with pytest.raises(
        ClsightError, match=r"expected ids \[sample, time\], .* but got float64 \[2, 3, 4, 5, 6\]"
    ):
        subject_of(nn.Identity()).prepare(Examples(np.zeros((2, 3, 4, 5, 6))))
    with pytest.raises(ClsightError, match="expected pictures"):
        subject.prepare(series(3, 11, FEATURES))


def test_arguments_of_the_module_are_no_data_of_a_subject():
    subject = subject_of(Rectangle())
    with pytest.raises(ClsightError) as refusal:
        clsight.capture(subject, {"x": series(2, 5, FEATURES)})
    assert str(refusal.value) == (
        "`examples`: expected the data of samples, which the subject prepares itself, but got a mapping of "
        "arguments, `x`. Pass the data alone, or call the module: clsight.capture(subject.module, inputs), "
        "with tensors as inputs."
    )


@pytest.mark.parametrize("raw", [torch.rand(40, 40, 3), [torch.rand(3, 40, 40)]], ids=["one", "several"])
def test_a_picture_given_as_a_tensor_is_told_by_its_shape(raw):
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    with pytest.raises(ClsightError, match=r"but got float32 \[[\d, ]+\]\.") as refusal:
        subject.prepare(raw)
    assert len(str(refusal.value)) < 250
