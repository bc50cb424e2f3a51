"""How is each peer asked for the CLS row and column, and what does one measurement cost? See `peers.py`.

Runs in the peers' environment: `python peer_tools.py '{"what": "time", "tool": "clsight", ...}'`.
"""

import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from overhead import peak_mebibytes, seconds
from transformers import AutoModel, BertConfig, BertForNextSentencePrediction, ViTConfig

import clsight

ATTNREAD = Path(__file__).parent / ".peers-venv" / "attnread"
ONE_ROUND_ABOVE = 30.0  # seconds

Views = tuple[torch.Tensor, torch.Tensor]  # CLS row and CLS column: [sample, layer, head, token]


@dataclass(frozen=True)
class Case:
    """One model and one input."""

    name: str
    tokens: int
    samples: int
    layers: int

    def model(self, implementation: str) -> Any:
        """Return the model with weights from a fixed seed, under that attention implementation."""
        if self.is_image:
            config = ViTConfig(num_hidden_layers=self.layers, image_size=self.pixels)
        else:
            config = BertConfig(num_hidden_layers=self.layers)
        torch.manual_seed(0)
        return AutoModel.from_config(config, attn_implementation=implementation).eval()

    def inputs(self) -> dict[str, Any]:
        """Return the inputs by name, from a fixed seed."""
        torch.manual_seed(1)
        if self.is_image:
            return {"pixel_values": torch.randn(self.samples, 3, self.pixels, self.pixels)}
        return {"input_ids": torch.randint(1000, 30_000, (self.samples, self.tokens))}

    @property
    def is_image(self) -> bool:
        """Whether the input is an image."""
        return self.name.startswith("ViT")

    @property
    def pixels(self) -> int:
        """Side of the image that makes this many tokens, CLS among them."""
        return 16 * math.isqrt(self.tokens - 1)


def cut(layers: list[torch.Tensor]) -> Views:
    """Return the CLS row and column of each layer's `[sample, head, query, key]` weights."""
    return together([weights[:, :, 0] for weights in layers], [weights[..., 0] for weights in layers])


def together(rows: list[torch.Tensor], columns: list[torch.Tensor]) -> Views:
    """Return each layer's `[sample, head, token]` rows and columns as two tensors."""
    return torch.stack(rows, dim=1), torch.stack(columns, dim=1)


def plain(case: Case) -> Callable[[], None]:
    """Return the forward pass under sdpa."""
    model, inputs = case.model("sdpa"), case.inputs()

    def run() -> None:
        model(**inputs)

    return run


def with_clsight(case: Case, keep: tuple[str, ...] = ("vectors",)) -> Callable[[], Views]:
    """Return a capture."""
    model, inputs = case.model("sdpa"), case.inputs()

    def run() -> Views:
        record = clsight.capture(model, inputs, keep=keep)
        return torch.from_numpy(record.attends_to.values), torch.from_numpy(record.attended_by.values)

    return run


def with_transformers(case: Case) -> Callable[[], Views]:
    """Return the eager model's own way."""
    model, inputs = case.model("eager"), case.inputs()
    return lambda: cut(model(**inputs, output_attentions=True).attentions)


def lens_bridge(case: Case) -> tuple[Any, torch.Tensor, list[str]]:
    """Return TransformerLens' bridge, its input, and the names of the attention patterns."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model, architecture = case.model("eager"), "ViTModel" if case.is_image else "BertForMaskedLM"
    if not case.is_image:  # the bridge knows BERT with a head: the smallest, two logits from the pooled CLS
        headed = BertForNextSentencePrediction(model.config).eval()
        headed.bert = model
        model = headed
    bridge = build_bridge_from_module(model, architecture, hf_config=model.config)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(case.layers)]
    return bridge, next(iter(case.inputs().values())), names


def with_lens_cache(case: Case) -> Callable[[], Views]:
    """Return TransformerLens' cache of all patterns."""
    bridge, x, names = lens_bridge(case)

    def run() -> Views:
        _, cache = bridge.run_with_cache(x, names_filter=names)
        return cut([cache[name] for name in names])

    return run


def with_lens_hooks(case: Case) -> Callable[[], Views]:
    """Return TransformerLens with a hook that keeps row and column."""
    bridge, x, names = lens_bridge(case)

    def run() -> Views:
        rows, columns = [], []

        def keep(pattern: torch.Tensor, hook: Any) -> None:
            rows.append(pattern[:, :, 0].clone())
            columns.append(pattern[..., 0].clone())

        bridge.run_with_hooks(x, fwd_hooks=[(name, keep) for name in names])
        return together(rows, columns)

    return run


def with_nnsight(case: Case) -> Callable[[], Views]:
    """Return an nnsight trace that keeps row and column."""
    from nnsight import NNsight

    model, inputs = NNsight(case.model("eager")), case.inputs()
    attentions = [
        model.layers[layer].attention if case.is_image else model.encoder.layer[layer].attention.self
        for layer in range(case.layers)
    ]

    def run() -> Views:
        with model.trace(**inputs):
            rows, columns = [].save(), [].save()
            for attention in attentions:
                weights = attention.output[1]
                rows.append(weights[:, :, 0].clone())
                columns.append(weights[..., 0].clone())
        return together(rows, columns)

    return run


def with_attnread(case: Case) -> Callable[[], Views]:
    """Return AttnRead's recovery of all heads."""
    sys.path.insert(0, str(ATTNREAD))
    from attnread import extract_attention

    model, inputs = case.model("sdpa"), case.inputs()
    if case.is_image:
        inputs["inputs_embeds"] = torch.zeros(1, 1, 1)
    heads = model.config.num_attention_heads

    def run() -> Views:
        found = extract_attention(model, inputs)
        return cut(
            [
                torch.stack([found["text", layer, head] for head in range(heads)], dim=1)
                for layer in range(case.layers)
            ]
        )

    return run


TOOLS: dict[str, Callable[[Case], Callable[[], Any]]] = {
    "clsight": with_clsight,
    "clsight, weights alone": lambda case: with_clsight(case, keep=()),
    "transformers": with_transformers,
    "TransformerLens, cache": with_lens_cache,
    "TransformerLens, hooks": with_lens_hooks,
    "nnsight": with_nnsight,
    "AttnRead": with_attnread,
}


def measured_time(tool: str, case: Case, repeats: int, reference: Path) -> dict[str, Any]:
    """Return plain seconds, the ratio to them, whether the first round is all, and the difference."""
    base, run = plain(case), TOOLS[tool](case)
    base()
    plains, views = [seconds(base)], []
    first = seconds(lambda: views.extend(run()))
    ratios = [first / plains[0]] if first > ONE_ROUND_ABOVE else []
    for _ in range(0 if ratios else repeats):
        plains.append(seconds(base))
        ratios.append(seconds(run) / plains[-1])
    if tool == "clsight":
        torch.save(views, reference)
    pairs = zip(views, torch.load(reference), strict=True)
    return {
        "plain": statistics.median(plains),
        "ratio": statistics.median(ratios),
        "first": first > ONE_ROUND_ABOVE,
        "difference": max(float((mine - other).abs().max()) for mine, other in pairs),
    }


def measured_memory(tool: str, case: Case) -> dict[str, Any]:
    """Return by how much the peak resident size rises during the tool's first full run, in MiB."""
    ready = plain if tool == "plain" else TOOLS[tool]
    ready(
        replace(case, tokens=17, samples=1, layers=1)
    )()  # what the first call loads is no cost of the model
    return {"mebibytes": peak_mebibytes(ready(case))}


def measurement(asked: dict[str, Any]) -> dict[str, Any]:
    """Return one measurement, or the first line of the error that the tool raised."""
    torch.set_num_threads(asked["threads"])
    case = Case(*asked["case"])
    try:
        with torch.no_grad():
            if asked["what"] == "memory":
                return measured_memory(asked["tool"], case)
            return measured_time(asked["tool"], case, asked["repeats"], Path(asked["reference"]))
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its cell in the table
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


if __name__ == "__main__":
    print(json.dumps(measurement(json.loads(sys.argv[1]))))
