"""Is a capture exact on each attention kernel of a GPU, and what does it cost there?

    python benchmarks/gpu.py [--repeats 15] [--only exactness|cost|longest]

Three tables. Exactness: what the capture finds against float64 weights of the very queries and keys that each
`scaled_dot_product_attention` call received, and whether the output is bit for bit that without a capture.
Cost: BERT-base geometry (12 layers, 12 heads, width 768) as `nn.TransformerEncoder` in bfloat16 on the flash
kernel, ways taken in turn and compared round by round, medians; memory is the rise of torch's allocated peak
over model and input. "dense" asks for all weights, one [head, token, token] array per layer. Longest: tokens
double until they do not fit.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from overhead import dense_weights, encoder
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import clsight

KERNELS: Final = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
FULL, HALF = (torch.float64, torch.float32), (torch.bfloat16, torch.float16)
_FUSED = functional.scaled_dot_product_attention
SHAPES: Final = ((32, 128), (8, 512), (1, 4096), (1, 8192), (1, 16_384), (1, 32_768))


@contextmanager
def kept_operands(kept: list[tuple[Tensor, Tensor, Tensor | None, bool]]) -> Iterator[None]:
    """Keep query, key, mask and causality of each `scaled_dot_product_attention` call, as it reads them."""

    def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        mask = kwargs.get("attn_mask", args[0] if args else None)
        causal = kwargs.get("is_causal", args[2] if len(args) > 2 else False)
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
        kept.append((query.to(dtype), key.to(dtype), mask, causal))
        return _FUSED(query, key, value, *args, **kwargs)

    with mock.patch.object(functional, "scaled_dot_product_attention", attention):
        yield


def true_weights(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Return the weights of one operation in float64, `[sample, head, query, key]`."""
    scores = query.double() @ key.double().mT / query.shape[-1] ** 0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask.double()
    return torch.softmax(scores, dim=-1).nan_to_num(0.0)


def sharpened(model: nn.Module) -> nn.Module:
    """Make queries larger, so that attention is far from uniform, and move the model to the GPU."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "in_proj_weight" in name:
                parameter[: parameter.shape[0] // 3] *= 2
            elif "qkv.weight" in name:
                parameter[: parameter.shape[0] // 3] *= 40
            elif "query.weight" in name:
                parameter.mul_(10)
    return model.cuda().eval()


def own_encoder(head_dim: int = 64) -> nn.Module:
    """Return a post-norm encoder of three layers with four heads."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4 * head_dim, 4, 512, batch_first=True)
    return sharpened(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))


class InTurn(nn.Module):
    """The layers of `own_encoder`, in turn on the CPU and on the GPU, as a model too large for one may be."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = own_encoder().cpu().layers
        self.devices = ("cpu", "cuda", "cpu")
        for layer, device in zip(self.layers, self.devices, strict=True):
            layer.to(device)

    def forward(self, src: Tensor) -> Tensor:
        """Return the states, `[sample, token, channel]`."""
        for layer, device in zip(self.layers, self.devices, strict=True):
            src = layer(src.to(device))
        return src


def bert() -> nn.Module:
    """Return a BERT of three layers as transformers builds it."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512
    )
    return sharpened(transformers.BertModel(config))


def vit() -> nn.Module:
    """Return a small ViT as timm builds it."""
    import timm

    torch.manual_seed(0)
    return sharpened(timm.create_model("vit_tiny_patch16_224", depth=3))


def series(dtype: torch.dtype, head_dim: int = 64) -> dict[str, Tensor]:
    """Return three sequences of 300 tokens for `own_encoder`."""
    generator = torch.Generator().manual_seed(1)
    return {"src": torch.randn(3, 300, 4 * head_dim, generator=generator).to("cuda", dtype)}


def padding() -> Tensor:
    """Return which of 300 tokens of three sequences are padding."""
    return torch.arange(300, device="cuda") >= torch.tensor([300, 211, 64], device="cuda")[:, None]


def cases() -> Iterator[tuple[str, str, torch.dtype, nn.Module, Mapping[str, Any], int]]:
    """Yield what is run, on which kernel, the dtype, module, inputs, and position of CLS."""
    causal = {"mask": nn.Transformer.generate_square_subsequent_mask(300, device="cuda"), "is_causal": True}
    for kernel in KERNELS:
        for dtype in FULL + HALF:
            if (dtype in FULL and kernel in {"flash", "cuDNN"}) or (
                dtype == torch.float64 and kernel == "memory-efficient"
            ):
                continue  # torch has no such kernel
            yield "no mask", kernel, dtype, own_encoder().to(dtype), series(dtype), 0
            mask = {**causal, "mask": causal["mask"].to(dtype)}
            yield "causal", kernel, dtype, own_encoder().to(dtype), series(dtype) | mask, 150
            if kernel != "flash":  # which takes none
                padded = series(dtype) | {"src_key_padding_mask": padding()}
                yield "padding", kernel, dtype, own_encoder().to(dtype), padded, 0
        if kernel != "math":
            yield "head_dim 20", kernel, HALF[0], own_encoder(20).to(HALF[0]), series(HALF[0], 20), 0
    words = torch.randint(5, 3000, (3, 300), generator=torch.Generator().manual_seed(2)).cuda()
    text = {"input_ids": words, "attention_mask": (~padding()).long()}
    pictures = {"x": torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(3)).cuda()}
    for dtype in (torch.float32, *HALF):
        yield "BERT (transformers), padding", "as torch chooses", dtype, bert().to(dtype), text, 0
        images = {"x": pictures["x"].to(dtype)}
        yield "ViT (timm)", "as torch chooses", dtype, vit().to(dtype), images, 0


def within(kernel: str) -> AbstractContextManager[None]:
    """Allow only this kernel."""
    return sdpa_kernel(KERNELS[kernel]) if kernel in KERNELS else nullcontext()


def exactness(
    module: nn.Module, inputs: Mapping[str, Any], kernel: str, cls_index: int
) -> tuple[str, float, float, bool]:
    """Return the kernels in the record, the errors of row and column, and whether the output is the same."""
    kept: list[tuple[Tensor, Tensor, Tensor | None, bool]] = []
    torch.backends.mha.set_fastpath_enabled(False)
    with within(kernel), torch.no_grad():
        with kept_operands(kept):
            plain = first(module(**inputs))
        with clsight.Recorder(module, cls_index=cls_index) as recorder:
            seen = first(module(**inputs))
        record = recorder.record
    torch.backends.mha.set_fastpath_enabled(True)
    row_error = column_error = 0.0
    for layer, operands in enumerate(kept):
        weights = true_weights(*operands).cpu().numpy()
        row, column = (record[name].values[:, layer] for name in ("attends_to", "attended_by"))
        row_error = max(row_error, float(np.abs(row - weights[:, :, cls_index]).max()))
        of_tokens = np.broadcast_to(
            record["token_mask"].values[:, None], column.shape
        )  # padding has no column
        column_error = max(column_error, float(np.abs(column - weights[..., cls_index])[of_tokens].max()))
    return ", ".join(sorted(set(record.attrs["kernel"]))), row_error, column_error, torch.equal(plain, seen)


def first(output: Any) -> Tensor:
    """Return the first tensor of what a module returns."""
    return output if isinstance(output, Tensor) else output[0]


def print_exactness() -> None:
    """Print the table of errors."""
    print("| what | kernel asked for | dtype | kernel in the record | row | column | output the same |")
    print("|---|---|---|---|---|---|---|")
    for what, kernel, dtype, module, inputs, cls_index in cases():
        print_case(
            what, kernel, str(dtype), lambda m=module, i=inputs, k=kernel, c=cls_index: exactness(m, i, k, c)
        )
    for dtype in HALF:
        with torch.autocast("cuda", dtype):
            inputs = series(torch.float32)
            print_case(
                "autocast",
                "as torch chooses",
                str(dtype),
                lambda i=inputs: exactness(own_encoder(), i, "", 0),
            )
    inputs = series(torch.float32)
    print_case(
        "CPU and GPU in turn",
        "as torch chooses",
        "float32",
        lambda i=inputs: exactness(InTurn().eval(), i, "", 0),
    )
    torch.backends.cuda.matmul.allow_tf32 = True
    for kernel in ("memory-efficient", "math"):
        inputs = series(torch.float32)
        print_case(
            "TF32 allowed", kernel, "float32", lambda k=kernel, i=inputs: exactness(own_encoder(), i, k, 0)
        )
    torch.backends.cuda.matmul.allow_tf32 = False


def print_case(
    what: str, kernel: str, dtype: str, measure: Callable[[], tuple[str, float, float, bool]]
) -> None:
    """Print one row; a refusal, and a kernel that torch does not have for a call, is a result too."""
    cells = [what, kernel, dtype.removeprefix("torch.")]
    try:
        found, row, column, same = measure()
        cells += [found, f"{row:.1e}", f"{column:.1e}", "yes" if same else "NO"]
    except (clsight.CaptureError, RuntimeError) as error:
        cells += [f"{type(error).__name__}: {str(error).splitlines()[0]}", "", "", ""]
    print(f"| {' | '.join(cells)} |", flush=True)


def ways(model: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """Return the ways to run a model that are compared."""

    def plain() -> None:
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            model(x)
        torch.backends.mha.set_fastpath_enabled(True)

    def dense() -> None:
        with torch.no_grad(), dense_weights(model):
            model(x)

    return {
        "plain": plain,
        "keep=()": lambda: clsight.capture(model, x, keep=()),
        "capture": lambda: clsight.capture(model, x),
        "dense": dense,
    }


def seconds(action: Callable[[], object]) -> float:
    """Return how long the action takes until the GPU is done."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_gibibytes(action: Callable[[], object]) -> float:
    """Return by how much torch's allocated peak rises during an action, in GiB; infinity if out of memory."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    try:
        action()
    except torch.OutOfMemoryError:
        return float("inf")
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def print_cost(repeats: int) -> None:
    """Print times and memory over the plain forward pass."""
    model = encoder().to("cuda", torch.bfloat16)
    ratios = ("keep=()", "capture", "dense")
    print("\n| samples × tokens | plain |", " | ".join(f"{way} ÷ plain" for way in ratios), end=" | ")
    print("extra memory:", " | ".join(("plain", *ratios)), "|\n" + 9 * "|---" + "|")
    for samples, tokens in SHAPES:
        x = torch.randn(samples, tokens, 768, device="cuda", dtype=torch.bfloat16)
        actions = ways(model, x)
        memory = {way: peak_gibibytes(action) for way, action in actions.items()}
        fitting = [way for way in actions if memory[way] < float("inf")]
        for way in fitting:
            seconds(actions[way])
        rounds = [{way: seconds(actions[way]) for way in fitting} for _ in range(repeats)]
        cells = [
            f"{samples} × {tokens:,}",
            f"{statistics.median(one['plain'] for one in rounds) * 1e3:.1f} ms",
        ]
        for way in ratios:
            over = [one[way] / one["plain"] for one in rounds if way in fitting]
            cells.append(f"{statistics.median(over):.2f}" if over else "out of memory")
        cells += [f"{memory[way]:.2f} GiB" if way in fitting else "out of memory" for way in actions]
        print(f"| {' | '.join(cells)} |", flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def print_longest(limit: int) -> None:
    """Print seconds and memory of plain and capture as tokens double, up to a limit."""
    model = encoder().to("cuda", torch.bfloat16)
    clsight.capture(model, torch.randn(1, 4096, 768, device="cuda", dtype=torch.bfloat16))  # loads kernels
    print("\n| tokens | plain | capture | extra memory: plain | capture |")
    print("|---|---|---|---|---|")
    tokens = 65_536
    while tokens <= limit:
        x = torch.randn(1, tokens, 768, device="cuda", dtype=torch.bfloat16)
        actions = ways(model, x)
        times, memory = {}, {}
        for way in ("plain", "capture"):
            start = time.perf_counter()
            memory[way] = peak_gibibytes(actions[way])
            torch.cuda.synchronize()
            times[way] = time.perf_counter() - start
        cells = [f"{tokens:,}", *(f"{times[way]:.1f} s" for way in times)]
        cells += [
            f"{memory[way]:.1f} GiB" if memory[way] < float("inf") else "out of memory" for way in memory
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        tokens *= 2


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="counted rounds per shape (default 15)")
    parser.add_argument(
        "--longest", type=int, default=524_288, help="longest sequence tried (default 524288)"
    )
    parser.add_argument("--only", choices=["exactness", "cost", "longest"], help="print one table")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n", flush=True)
    if options.only in (None, "exactness"):
        print_exactness()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        if options.only in (None, "cost"):
            print_cost(options.repeats)
        if options.only in (None, "longest"):
            print_longest(options.longest)


if __name__ == "__main__":
    main()
