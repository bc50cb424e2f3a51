"""The callback in a real Lightning `Trainer`: the same weights as without, and a record of the steps."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import clsight
from clsight.tracking import open_training
from encoder_builders import declare_torchvision_operators
from tracked_trainings import CLASSES, FEATURES, TOKENS, Classifier, probe_inputs

declare_torchvision_operators()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of lightning itself, on import
    from lightning.pytorch import LightningModule, Trainer, seed_everything

    from clsight.tracking import LightningCallback

pytestmark = pytest.mark.filterwarnings("ignore:::lightning", "ignore:::pytorch_lightning")


class Own(LightningModule):
    """A user's module, whose `forward` may be missing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.classifier = Classifier()

    def training_step(self, batch, _):
        x, y = batch
        loss = nn.functional.cross_entropy(self.classifier(x), y)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def loader():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, TOKENS, FEATURES, generator=generator)
    y = torch.randint(CLASSES, (40,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=4)


def train(folder, *callbacks, resume=None, max_steps=10, **options):
    trainer = Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        callbacks=[*callbacks],
        **options,
    )
    own = Own()
    seed_everything(5, verbose=False)
    trainer.fit(own, loader(), ckpt_path=resume)
    return own, trainer


def callback(folder, every=3):
    return LightningCallback(
        probe_inputs(), every=every, path=folder / "training", module=lambda own: own.classifier
    )


def weights(model):
    return {name: values.numpy().tobytes() for name, values in model.state_dict().items()}


def test_training_ends_bit_for_bit_as_without_the_callback(tmp_path):
    own, _ = train(tmp_path)
    tracked, _ = train(tmp_path, callback(tmp_path))
    assert weights(tracked) == weights(own)


def test_record_has_the_steps_and_what_was_logged_of_them(tmp_path):
    _, trainer = train(tmp_path, callback(tmp_path))
    training = open_training(tmp_path / "training")
    assert training["step"].values.tolist() == [0, 3, 6, 9, 10]
    assert float(training["train_loss"].sel(step=10)) == float(trainer.callback_metrics["train/loss"])
    assert bool(training["train_loss"].sel(step=0).isnull())
    assert training.attrs["model"] == "Classifier"


def test_steps_are_those_of_the_optimizer(tmp_path):
    train(tmp_path, callback(tmp_path, every=2), max_steps=5, accumulate_grad_batches=2)
    assert open_training(tmp_path / "training")["step"].values.tolist() == [0, 2, 4, 5]


def test_training_that_goes_on_from_a_checkpoint_goes_on_with_its_record(tmp_path):
    _, trainer = train(tmp_path, callback(tmp_path), max_steps=4)
    trainer.save_checkpoint(tmp_path / "four.ckpt")
    train(tmp_path, callback(tmp_path), resume=str(tmp_path / "four.ckpt"), max_steps=7)
    assert open_training(tmp_path / "training")["step"].values.tolist() == [0, 3, 4, 6, 7]


def test_training_that_fails_keeps_its_whole_steps(tmp_path):
    class Failing(Own):
        def training_step(self, batch, index):
            if index == 4:
                raise ZeroDivisionError
            return super().training_step(batch, index)

    trainer = Trainer(
        max_steps=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[callback(tmp_path)],
    )
    with pytest.raises(ZeroDivisionError):
        trainer.fit(Failing(), loader())
    assert open_training(tmp_path / "training")["step"].values.tolist() == [0, 3]


def test_module_is_looked_at_by_its_own_forward_by_default(tmp_path):
    class WithForward(Own):
        def forward(self, x):
            return self.classifier(x)

    trainer = Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.callbacks.append(LightningCallback(probe_inputs(), path=tmp_path / "training"))
    trainer.fit(WithForward(), loader())
    training = open_training(tmp_path / "training")
    assert training.attrs["model"] == "WithForward"
    assert clsight.analysis.entropy(training).sizes["step"] == 2
