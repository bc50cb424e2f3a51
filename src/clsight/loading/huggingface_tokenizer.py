"""The tokenizer beside a transformers model: `tokenizer.json`, or the vocabulary files of older folders."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from clsight.errors import CheckpointError
from clsight.loading.plain_files import read_bytes
from clsight.loading.tensor_files import inside, read_json

TOKENIZER_FILE: Final = "tokenizer.json"
_CONFIG_FILE: Final = "tokenizer_config.json"
_SPECIAL_FILE: Final = "special_tokens_map.json"
_LARGEST: Final = 128 * 2**20
_WORD_PIECES: Final = frozenset({"bert", "distilbert", "electra", "mobilebert"})
_BYTE_PAIRS: Final = frozenset({"roberta"})
_CONVERT: Final = (
    "Write tokenizer.json with AutoTokenizer.from_pretrained(folder).save_pretrained(folder) in Python"
)
_ANY_TOKENIZER: Final = (TOKENIZER_FILE, "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_LIKELY_CLS: Final = ("[CLS]", "<s>", "<cls>")
_LIKELY_PAD: Final = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer and what the files beside it say.

    Attributes:
        tokenizer: A `tokenizers.Tokenizer`.
        cls_token: Text of the [CLS] token; "" where there is none.
        pad_token: Text of the padding token; "" where there is none.
        longest: Most tokens of a sample, as the folder says; None where it does not.
    """

    tokenizer: Any
    cls_token: str
    pad_token: str
    longest: int | None


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has a file of a tokenizer, known or not."""
    return any((folder / name).exists() for name in _ANY_TOKENIZER)


def read_tokenizer(folder: Path, kind: str) -> FolderTokenizer:
    """Return the tokenizer in a folder; the tokenizers library reads it, and no class that a file names.

    Args:
        folder: A transformers folder.
        kind: Its `model_type`, for folders with vocabulary files alone.

    Raises:
        CheckpointError: If there is none, it is broken, or it needs code of its own.
    """
    settings = _settings(folder)
    if settings.get("auto_map"):
        _fail(
            folder / _CONFIG_FILE,
            "a tokenizer without code of its own",
            "`auto_map`",
            "Use the model in Python with its tokenizer, and pass the token ids",
        )
    tokenizer = _read(folder, kind, settings)
    longest = settings.get("model_max_length")
    return FolderTokenizer(
        tokenizer,
        cls_token=_special(tokenizer, settings, "cls_token", _LIKELY_CLS),
        pad_token=_special(tokenizer, settings, "pad_token", _LIKELY_PAD),
        longest=longest if type(longest) is int and 0 < longest < 2**22 else None,
    )


def _settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (_SPECIAL_FILE, _CONFIG_FILE):
        if (folder / name).exists():
            found |= read_json(inside(folder, name))
    return found


def _read(folder: Path, kind: str, settings: dict[str, Any]) -> Any:
    has = {name for name in (*_ANY_TOKENIZER, "merges.txt") if (folder / name).exists()}
    if TOKENIZER_FILE in has:
        from tokenizers import Tokenizer

        data = bytes(read_bytes(inside(folder, TOKENIZER_FILE), largest=_LARGEST))
        return _made(lambda: Tokenizer.from_buffer(data), folder / TOKENIZER_FILE)
    if "vocab.txt" in has and kind in _WORD_PIECES:
        return _made(lambda: _word_pieces(folder, settings), folder / "vocab.txt")
    if {"vocab.json", "merges.txt"} <= has and kind in _BYTE_PAIRS:
        return _made(lambda: _byte_pairs(folder), folder / "vocab.json")
    got = ", ".join(sorted(has)) or "none"
    _fail(folder, TOKENIZER_FILE, got, _CONVERT)


def _made(make: Callable[[], Any], file: Path) -> Any:
    """Return what `make` returns; the library is in Rust, and panics past `Exception`."""
    try:
        return make()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError | CheckpointError):
            raise
        _fail(file, "a tokenizer", " ".join(str(error).split())[:200], "Copy it anew from its source", error)


def _word_pieces(folder: Path, settings: dict[str, Any]) -> Any:
    """Return the tokenizer of BERT around a `vocab.txt`, one token a line."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = bytes(read_bytes(inside(folder, "vocab.txt"), largest=_LARGEST)).decode().splitlines()
    vocabulary = {word.rstrip("\r\n"): number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    return tokenizer


def _byte_pairs(folder: Path) -> Any:
    """Return the tokenizer of RoBERTa around a `vocab.json` and a `merges.txt`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = read_json(inside(folder, "vocab.json"))
    lines = bytes(read_bytes(inside(folder, "merges.txt"), largest=_LARGEST)).decode().split("\n")
    kept = [line for line in lines if line.strip() and not line.startswith("#version")]
    pairs = [(first, second) for first, second in (line.split() for line in kept)]
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), add_prefix_space=False
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


def _special(tokenizer: Any, settings: dict[str, Any], role: str, likely: tuple[str, ...]) -> str:
    """Return the text of a special token that the vocabulary has, as stated or as usually called."""
    stated = settings.get(role)
    text = stated.get("content") if isinstance(stated, dict) else stated
    candidates = [text] if isinstance(text, str) else likely
    return next((one for one in candidates if tokenizer.token_to_id(one) is not None), "")


def _fail(
    subject: Path, expected: str, got: str, next_step: str, error: BaseException | None = None
) -> NoReturn:
    raise CheckpointError(str(subject), expected=expected, got=got, next_step=next_step) from error
