"""The callback in a real `transformers.Trainer`: the same weights as without, and a record of the steps."""

import numpy as np
import pytest
import torch

import clsight
from clsight.tracking import open_training
from clsight.tracking.scalars import is_number
from encoder_builders import declare_torchvision_operators

declare_torchvision_operators()
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments  # noqa: E402

from clsight.tracking import TransformersCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")

CONFIG = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_labels": 3,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.2,
}


def probe_inputs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 30, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def data(count=40):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 30, (count, 7), generator=generator)
    return [{"input_ids": row, "labels": int(row[0]) % 3} for row in ids]


def new_model():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**CONFIG))


def train(folder, *callbacks, resume=None, model=None, **changes):
    options = {
        "output_dir": str(folder / "trainer"),
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 3,
        "save_steps": 4,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }
    arguments = TrainingArguments(**options)
    model = new_model() if model is None else model
    trainer = Trainer(model, arguments, train_dataset=data(), eval_dataset=data(8), callbacks=[*callbacks])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(model):
    return {name: values.numpy().tobytes() for name, values in model.state_dict().items()}


def callback(folder, **options):
    return TransformersCallback(probe_inputs(), every=3, path=folder / "training", **options)


def test_training_ends_bit_for_bit_as_without_the_callback(tmp_path):
    expected = weights(train(tmp_path).model)
    found = train(tmp_path, callback(tmp_path), output_dir=str(tmp_path / "tracked")).model
    assert weights(found) == expected


def test_record_has_the_steps_and_what_was_logged_of_them(tmp_path):
    trainer = train(tmp_path, callback(tmp_path))
    training = open_training(tmp_path / "training")
    assert training["step"].values.tolist() == [0, 3, 6, 9, 10]
    logged = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    np.testing.assert_allclose(training["loss"].sel(step=[3, 6, 9]), [logged[step] for step in (3, 6, 9)])
    assert bool(training["loss"].sel(step=[0]).isnull().all())
    assert "learning_rate" in training
    last = clsight.capture(trainer.model, probe_inputs(), keep=())
    np.testing.assert_allclose(training["attends_to"].sel(step=10), last["attends_to"], rtol=2**-11)


def test_training_that_goes_on_from_a_checkpoint_goes_on_with_its_record(tmp_path):
    train(tmp_path, callback(tmp_path))
    train(tmp_path, callback(tmp_path), resume=str(tmp_path / "trainer" / "checkpoint-4"), max_steps=7)
    assert open_training(tmp_path / "training")["step"].values.tolist() == [0, 3, 4, 6, 7]


def test_best_weights_that_come_back_are_not_taken_for_the_last_step(tmp_path):
    """The "best" is here the largest loss, which is not the last."""
    options = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    options |= {"metric_for_best_model": "loss", "greater_is_better": True, "learning_rate": 0.3}
    trainer = train(tmp_path, callback(tmp_path), **options)
    assert trainer.state.best_global_step < 10
    training = open_training(tmp_path / "training")
    best = clsight.capture(trainer.model, probe_inputs(), keep=())["attends_to"]
    assert training["step"].values.tolist() == [0, 3, 6, 9, 10]
    assert float(abs(training["attends_to"].sel(step=10) - best).max()) > 1e-3
    assert "eval_loss" in training


def test_subject_tells_what_its_tokens_are(tmp_path):
    subject = clsight.subject_of(new_model())
    examples = clsight.Examples(probe_inputs()["input_ids"].numpy())
    tracked = TransformersCallback(examples, every=5, path=tmp_path / "training", subject=subject)
    train(tmp_path, tracked, model=subject.module)
    training = open_training(tmp_path / "training")
    assert training["token_kind"].values[0].tolist() == ["word"] * 7
    assert training["token_text"].values.tolist() == examples.inputs.astype(str).tolist()


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(1, True), (np.float32(0.5), True), (torch.ones(1), True), (True, False), ("low", False), ([1], False)],
)
def test_single_numbers_among_what_a_trainer_logs_are_kept(value, is_one):
    assert is_number(value) is is_one
