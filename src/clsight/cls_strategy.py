"""What an initialization strategy of [CLS] is, the registry of all of them, and their random streams.

A strategy answers three things: what vector enters the encoder (`initial`), how it is put in front of the
tokens (`prepend`), and where the encoder's output is read (`read_out`). All draws come from the strategy's
own generators, never from torch's global one, so that models which differ only in their strategy share every
other weight.
"""

import inspect
import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from clsight.errors import ClsightError, did_you_mean

CLS_STRATEGIES: dict[str, type["ClsToken"]] = {}
"""Every strategy by name; subclassing `ClsToken` adds to it."""

_CONSTRUCTION, _FORWARD = 0, 1  # two streams: what is drawn once, and what is drawn at each forward pass


def make(name: str, width: int, *, seed: int, **options: Any) -> "ClsToken":
    """Build the strategy called `name`.

    Args:
        name: A key of `CLS_STRATEGIES`.
        width: Channels of a token, at least 1.
        seed: Start of the strategy's own random streams, 0 or more.
        **options: What this strategy takes beside width and seed, such as `std=0.02` or `shared=True`.

    Returns:
        A new module on the CPU in float32.

    Raises:
        ClsightError: If the name or an option is unknown; the message lists what there is.

    Example:
        >>> make("zeros", 3, seed=0).initial(torch.ones(2, 5, 3), None).tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    if name not in CLS_STRATEGIES:
        raise ClsightError(
            "strategy",
            expected="a known initialization strategy",
            got=f"`{name}`",
            next_step=did_you_mean(str(name), CLS_STRATEGIES),
        )
    strategy = CLS_STRATEGIES[name]
    known = {key: item.default for key, item in inspect.signature(strategy).parameters.items()}
    known = {key: default for key, default in known.items() if key not in ("width", "seed")}
    for option, value in options.items():
        _check_option(name, known, option, value)
    return strategy(width, seed=seed, **options)


class ClsToken(nn.Module):
    """What all strategies share: put [CLS] at position 0, and read the answer off position 0.

    Subclass it to add a strategy: `class Mine(ClsToken, name="mine")` whose constructor sets `vector`, or
    which defines `initial`. Further keywords of the constructor become options, stored with the model.

    Args:
        width: Channels of a token.
        seed: Start of the strategy's own random streams.
    """

    name: ClassVar[str]
    in_sequence: ClassVar[bool] = True
    """Whether a [CLS] token is part of the sequence that the encoder sees."""
    readout_index: ClassVar[int | None] = 0
    """Position the answer is read off; None where it is an average over tokens."""
    draws_in_eval: ClassVar[bool] = False
    """Whether two forward passes in eval mode may differ."""
    vector: Tensor
    """[width], where the start is one vector: a parameter if it is trained, else a buffer."""

    def __init_subclass__(cls, *, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken = CLS_STRATEGIES.get(name)
        # The same class defined again, as when a notebook cell is run twice, replaces itself.
        if taken and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ClsightError(
                "strategy",
                expected="a new name",
                got=f"`{name}`, the name of {taken.__module__}.{taken.__qualname__}",
                next_step="Choose another name",
            )
        cls.name = name
        CLS_STRATEGIES[name] = cls

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__()
        self.width = width
        self.seed = seed
        self._generator = _stream(seed, _FORWARD)

    def initial(self, tokens: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return the vector [CLS] starts from: here `self.vector`, the same for each sample.

        Args:
            tokens: Embedded tokens before positions are added, [batch, time, width].
            token_mask: [batch, time] bool, True = a real token; None if all are real.

        Returns:
            [batch, width], of the dtype and on the device of `tokens`.
        """
        return self.vector.to(tokens).expand(len(tokens), -1)  # [width] -> [batch, width]

    def prepend(self, tokens: Tensor, token_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Put [CLS] in front: [batch, time, width] -> [batch, 1 + time, width], and the mask likewise."""
        cls = self.initial(tokens, token_mask).unsqueeze(1)  # [batch, 1, width]
        tokens = torch.cat((cls, tokens), dim=1)  # [batch, 1 + time, width]
        if token_mask is not None:
            token_mask = torch.cat((token_mask.new_ones(len(token_mask), 1), token_mask), dim=1)
        return tokens, token_mask

    def read_out(self, states: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return what the classifier sees: states [batch, token, width] -> [batch, width]."""
        return states[:, 0]

    def reseed(self, seed: int | None = None) -> None:
        """Start the draws of coming forward passes anew, by default from the seed of construction.

        After `reseed(s)` the same inputs in the same batches give the same draws. A loaded model is at this
        start. Vectors drawn once, when the strategy was built, stay as they are.
        """
        self._generator = _stream(self.seed if seed is None else seed, _FORWARD)

    @property
    def generator(self) -> torch.Generator:
        """The generator of what is drawn at each forward pass, as it stands now."""
        return self._generator

    def stream(self) -> torch.Generator:
        """Return the generator of what is drawn once, at its start: a function of the seed alone."""
        return _stream(self.seed, _CONSTRUCTION)

    def draw_once(self, std: float) -> Tensor:
        """Return a vector [width] from N(0, std²), a function of the seed alone."""
        return std * torch.randn(self.width, generator=self.stream(), device="cpu")

    def draw(self, rows: int, std: float, like: Tensor) -> Tensor:
        """Return [rows, width] from N(0, std²), new at each call, with dtype and device of `like`."""
        # Drawn on the CPU in float32, so that every device and dtype sees the same numbers.
        return (std * torch.randn(rows, self.width, generator=self._generator, device="cpu")).to(like)


def _stream(seed: int, purpose: int) -> torch.Generator:
    """Return a CPU generator for one purpose, independent of generators seeded with `seed` itself."""
    state = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)
    return torch.Generator(device="cpu").manual_seed(int(state[0] >> np.uint64(1)))


def _check_option(name: str, known: dict[str, Any], option: str, value: Any) -> None:
    """Refuse an option that the strategy does not take, or a value not of its default's kind."""
    subject = f"strategy {name}"
    if option not in known:
        step = did_you_mean(str(option), known) if known else f"`{name}` takes no options"
        raise ClsightError(subject, expected="a known option", got=f"`{option}`", next_step=step)
    default = known[option]
    if isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits, expected = number and math.isfinite(value) and value > 0, "a positive number"
    elif isinstance(default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    else:
        fits, expected = True, ""
    if not fits:
        step = f"Set `{option}` as in the default, {default}"
        raise ClsightError(subject, expected=f"{expected} as {option}", got=repr(value), next_step=step)
