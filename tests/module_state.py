"""What a capture must leave as it was: everything of a module, and torch's settings in this thread."""

import torch

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")


def state(module):
    """Everything of a module that a capture must leave as it was, and the random state."""
    return {
        "type": type(module),
        "modules": [(name, type(part), part.training) for name, part in module.named_modules()],
        "hooks": [list(getattr(part, name)) for part in module.modules() for name in HOOKS],
        "attributes": [sorted(vars(part)) for part in module.modules()],
        "gradients": [(name, part.requires_grad) for name, part in module.named_parameters()],
        "values": [(name, digest(part)) for name, part in module.state_dict().items()],
        "attention": getattr(getattr(module, "config", None), "_attn_implementation", None),
        "grad_enabled": torch.is_grad_enabled(),
        "fast_path": torch.backends.mha.get_fastpath_enabled(),
        "function_modes": len(torch.overrides._get_current_function_mode_stack()),
        "random": torch.random.get_rng_state().numpy().tobytes(),
    }


def digest(tensor):
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach().numpy().tobytes()
