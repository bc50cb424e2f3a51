"""Vision transformers of timm: a file of weights with a stated architecture, or a local hub folder."""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clsight.errors import CheckpointError
from clsight.loading.fitting import fit_by_layer, fit_weights
from clsight.loading.optional_libraries import needing
from clsight.loading.options import Options
from clsight.loading.peeling import peel
from clsight.loading.picture_subject import PictureTokens, check_complete, picture_subject
from clsight.loading.subject import ClsVector, Subject
from clsight.loading.tensor_files import inside, read_json, read_tensors
from clsight.loading.timm_settings import CONFIG_FILE, TimmSettings, from_config, settings_by_name
from clsight.schema import TokenKind

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LARGEST_PATCH = 64  # of a file whose patches are resized: the work grows with its fourth power


def is_timm(path: Path, options: Options) -> bool:
    """Tell whether the user states an architecture of timm."""
    return (options.architecture or "").startswith("timm:")


def is_timm_folder(path: Path, options: Options) -> bool:
    """Tell whether a folder's `config.json` is of the kind that timm writes."""
    if options.architecture or not (path / CONFIG_FILE).is_file():
        return False
    try:
        config = read_json(path / CONFIG_FILE)
    except CheckpointError:
        return False
    return isinstance(config.get("architecture"), str) and isinstance(config.get("pretrained_cfg"), dict)


def read_timm(path: Path, options: Options) -> Subject:
    """Return the subject of a file of weights for `timm:vit_small_patch16_224` or another name of timm's."""
    settings = settings_by_name((options.architecture or "").removeprefix("timm:"))
    return _read(path, settings, options, format_name=f"weights of {options.architecture}")


def read_timm_folder(path: Path, options: Options) -> Subject:
    """Return the subject in a folder as timm puts it on a hub."""
    settings = from_config(read_json(inside(path, CONFIG_FILE)), path / CONFIG_FILE)
    found = [name for name in _WEIGHTS if (path / name).exists()]
    if not found:
        raise CheckpointError(
            str(path), expected=" or ".join(_WEIGHTS), got="neither", next_step="Copy the folder anew"
        )
    return _read(inside(path, found[0]), settings, options, format_name="a timm folder")


def _read(path: Path, settings: TimmSettings, options: Options, *, format_name: str) -> Subject:
    file = read_tensors(path)
    tensors = peel(file.tensors)[1]
    module, inferred = _build(settings, tensors, path)
    tokens = _tokens(module, settings, path)
    fitting, converted = _converted(module, tensors, settings, path)
    fit = fit_weights(module, fitting, file=path)
    check_complete(module, fit["missing"], path)
    has_cls = tokens.prefix[:1] == ("cls",)
    pooling = getattr(module, "global_pool", "token")
    read_off = 0 if has_cls and pooling in ("token", "") else None
    classes = int(getattr(module, "num_classes", 0))
    provenance: dict[str, Any] = {
        "path": str(path),
        "format": f"{format_name}, {file.kind}",
        "sha256": file.sha256,
        "timm": sys.modules["timm"].__version__,
        **fit_by_layer(fit),
        "inferred": inferred,
    }
    if converted:
        provenance["converted"] = converted
    if read_off is None:
        provenance["cls"] = (
            f"The answer is not read off one token (global_pool={pooling}). State cls_index=0 to look at the "
            + ("class token, which it does have" if has_cls else "first patch: it has no class token")
        )
    return picture_subject(
        module,
        name=f"{settings.architecture} ({path.parent.name if 'folder' in format_name else path.name})",
        transform=settings.transform(_picture_size(module, settings)),
        tokens=tokens,
        cls_index=read_off if options.cls_index is None else options.cls_index,
        cls_vector=ClsVector(module.cls_token) if has_cls else None,  # type: ignore[arg-type]
        classes=settings.labels if len(settings.labels) == classes else tuple(map(str, range(classes))),
        classifies=classes > 0,
        provenance=provenance,
    )


def _build(
    settings: TimmSettings, tensors: dict[str, Tensor], path: Path
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the module with weights of its own yet, and what the tensors' shapes told about it."""
    args = dict(settings.model_args)
    sketch = _create(settings, args, meta=True)
    inferred: dict[str, Any] = {"classes": _classes(sketch, tensors)}
    args["num_classes"] = inferred["classes"]
    size = None if "img_size" in args else _other_size(sketch, settings, tensors)
    if size is not None:
        args["img_size"] = inferred["image_size"] = size
    sketch = _create(settings, args, meta=True)
    wanted = sum(parameter.numel() for parameter in sketch.parameters())
    given = sum(tensor.numel() for tensor in tensors.values())
    if wanted > 2 * given + 1_000_000:  # before memory is taken for it
        raise CheckpointError(
            str(path),
            expected=f"the {wanted:,} numbers of {settings.architecture}",
            got=f"{given:,}",
            next_step="Check that the weights belong to this architecture",
        )
    return _create(settings, args, meta=False), inferred


def _create(settings: TimmSettings, args: dict[str, Any], *, meta: bool) -> nn.Module:
    """Return timm's model with random weights, or without any on the meta device; nothing is fetched."""
    with needing("timm", extra="timm"):
        import timm
    device = torch.device("meta" if meta else "cpu")
    try:
        with torch.random.fork_rng(devices=[]), device:
            module: nn.Module = timm.create_model(settings.architecture, pretrained=False, **args)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, ZeroDivisionError) as error:
        raise CheckpointError(
            settings.architecture,
            expected="settings that timm can build",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step="Correct config.json, or build the model yourself and pass it as factory=",
        ) from error
    return module


def _classes(sketch: nn.Module, tensors: dict[str, Tensor]) -> int:
    """Return the number of classes in the file's head, 0 without one."""
    names = getattr(sketch, "pretrained_cfg", {}).get("classifier") or "head"
    name = names if isinstance(names, str) else names[0]
    head = tensors.get(f"{name}.weight")
    return 0 if head is None or head.dim() != 2 else int(head.shape[0])


def _other_size(
    sketch: nn.Module, settings: TimmSettings, tensors: dict[str, Tensor]
) -> tuple[int, int] | None:
    """Return height and width of pictures where they are not the architecture's own: as stated, or square."""
    embed = getattr(sketch, "patch_embed", None)
    own, patch = getattr(embed, "img_size", None), getattr(embed, "patch_size", None)
    if own is None or patch is None:
        return None
    if settings.size is not None and tuple(settings.size) != tuple(own):
        return settings.size
    patches = _patches(sketch, tensors)
    side = math.isqrt(patches or 0)
    return (side * patch[0], side * patch[1]) if side and side**2 == patches else None


def _patches(module: nn.Module, tensors: dict[str, Tensor]) -> int | None:
    """Return how many patches the file has positions for, where that is not the module's own number."""
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    position, learned = tensors.get("pos_embed"), getattr(module, "pos_embed", None)
    if grid is None or position is None or learned is None or position.dim() != 3:
        return None
    if position.shape[:2] == learned.shape[:2]:
        return None
    prefix = int(learned.shape[1]) - int(math.prod(grid))
    return max(int(position.shape[1]) - prefix, 0)


def _tokens(module: nn.Module, settings: TimmSettings, path: Path) -> PictureTokens:
    """Return the sequence that the model's encoder sees."""
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    count = getattr(module, "num_prefix_tokens", None)
    prefix: list[TokenKind] = []
    if getattr(module, "cls_token", None) is not None:
        prefix.append("cls")
    if getattr(module, "dist_token", None) is not None:
        prefix.append("distillation")
    if grid is None or count is None or count < len(prefix):
        raise CheckpointError(
            settings.architecture,
            expected="a vision transformer with one sequence of patches",
            got=f"a {type(module).__name__}, which has none",
            where=f"Loading {path}",
            next_step="Choose a ViT, DeiT, BEiT, EVA or DINO model",
        )
    prefix += ["register"] * (count - len(prefix))
    return PictureTokens(tuple(prefix), (int(grid[0]), int(grid[1])))


def _picture_size(module: nn.Module, settings: TimmSettings) -> tuple[int, int]:
    size = getattr(getattr(module, "patch_embed", None), "img_size", None) or settings.size or (224, 224)
    return int(size[0]), int(size[1])


def _converted(
    module: nn.Module, tensors: dict[str, Tensor], settings: TimmSettings, path: Path
) -> tuple[dict[str, Tensor], str]:
    """Return tensors that fit, through timm's own conversion where names or shapes are others."""
    wanted = module.state_dict()
    if all(name in tensors and tensors[name].shape == tensor.shape for name, tensor in wanted.items()):
        return tensors, ""
    import timm

    home = sys.modules[timm.models.model_entrypoint(settings.architecture).__module__]
    convert = getattr(home, "checkpoint_filter_fn", None)
    large = [
        n for n, t in tensors.items() if "patch" in n and t.dim() == 4 and max(t.shape[2:]) > _LARGEST_PATCH
    ]
    if convert is None or large:
        return tensors, ""
    try:
        found: dict[str, Tensor] = convert(dict(tensors), module)
    except Exception as error:  # timm's code on the tensors of a file: anything may go wrong
        patches = _patches(module, tensors)
        if patches is not None and math.isqrt(patches) ** 2 != patches:
            raise CheckpointError(
                str(path),
                expected="positions of as many patches as a square picture has, which tells its size",
                got=f"{patches} patches",
                next_step="Make the model of the picture's height and width yourself, in Python "
                f"factory=lambda: timm.create_model('{settings.architecture}', img_size=(height, width)), or "
                "name a function that does with --model package.module:factory",
            ) from error
        raise CheckpointError(
            str(path),
            expected=f"weights that timm can convert to {settings.architecture}",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step="Check that the weights belong to this architecture",
        ) from error
    return found, _changes(tensors, found)


def _changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    resized = [
        f"{name} {list(before[name].shape)} → {list(tensor.shape)}"
        for name, tensor in after.items()
        if name in before and before[name].shape != tensor.shape
    ]
    return "by timm's checkpoint_filter_fn" + (f"; resized {', '.join(resized)}" if resized else "")
