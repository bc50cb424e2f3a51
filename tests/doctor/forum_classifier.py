"""The classifier of the forum thread behind clsight (discuss.pytorch.org, topic 164441), its bug kept.

Names, arguments, operations and their order are the poster's, so that checkpoints of that class fit; only the
layout is ours. `tokens`, with [CLS] in front, is built and then forgotten: the encoder gets `x`.
"""

import torch
from torch import nn


class ClassificationTransformer(nn.Module):
    def __init__(self, embedding_dim, n_head, depth):
        super().__init__()
        encoder_layer = nn.TransformerEncoderLayer(d_model=embedding_dim, nhead=n_head, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(encoder_layer, num_layers=depth)

    def forward(self, x):
        cls_token = torch.randn((x.shape[0], 1, x.shape[-1]), device=x.device)
        tokens = torch.column_stack((cls_token, x))  # noqa: F841 - the bug: [batch, 1 + time, feature], unused
        encodings = self.transformer_encoder(x)
        representation = encodings[:, 0, :]
        return representation
