"""Dense attention weights and their gradients, by autograd in models that write their attention out."""

import torch
from torch import nn


def dense_bert(case, classes):
    """Return dense weights and gradients of an eager BERT, [layer][sample, head, query, key]."""
    out = case.module(**case.inputs, output_attentions=True)
    for weights in out.attentions:
        weights.retain_grad()
    out.logits[torch.arange(len(classes)), classes].sum().backward()
    case.module.zero_grad()
    return [w.detach().numpy() for w in out.attentions], [w.grad.numpy() for w in out.attentions]


def dense_vit(case, classes):
    """The same of a ViT whose attention is not fused."""
    kept = []
    handles = [
        block.attn.attn_drop.register_forward_hook(lambda *given: kept.append(given[-1]))
        for block in case.module.blocks
    ]
    logits = case.module(**case.inputs)
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(logits[torch.arange(len(classes)), classes].sum(), kept)
    return [w.detach().numpy() for w in kept], [g.numpy() for g in gradients]


def dense_torch(module, inputs, mask, classes):
    """The same of a torch classifier, its layers written out with the modules' own weights."""
    x, kept = inputs["src"], []
    hidden = torch.from_numpy(~mask)[:, None, None]
    for layer in module.encoder.layers:
        attention = layer.self_attn
        read = layer.norm1(x) if layer.norm_first else x
        mapped = nn.functional.linear(read, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in mapped.chunk(3, -1)
        )
        scores = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
        kept.append(scores.softmax(-1))
        x = x + attention.out_proj((kept[-1] @ value).transpose(1, 2).flatten(2))
        x = x if layer.norm_first else layer.norm1(x)
        x = x + layer.linear2(layer.linear1(layer.norm2(x) if layer.norm_first else x).relu())
        x = x if layer.norm_first else layer.norm2(x)
    logits = module.head(module.norm(x[:, module.position]))
    gradients = torch.autograd.grad(logits[torch.arange(len(classes)), classes].sum(), kept)
    return [w.detach().numpy() for w in kept], [g.numpy() for g in gradients]
