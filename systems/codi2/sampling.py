"""Which token comes next: the likeliest, or one drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def choose(logits: Tensor, temperature: float, top_p: float, draws: Tensor) -> Tensor:
    """(rows, vocabulary) -> the ids (rows,); -inf in `logits` is never chosen.

    `temperature` 0 takes the likeliest. Above, probabilities are softmax(logits / temperature); the likeliest tokens,
    as few as add up to `top_p`, share the interval from 0 to 1 in the order of their probabilities, and the one that
    `draws` (rows,) in [0, 1) falls upon is taken: a row's token depends on its own logits and its own draw alone.
    Source: nucleus sampling (Holtzman et al., arXiv 1904.09751, section 3.1).
    """
    if temperature == 0:
        return logits.argmax(-1)
    # In float64, as the draws are, so that dtype and device move no token but one on the very edge.
    likelihood = torch.softmax(logits.double() / temperature, dim=-1)
    sorted_, ids = likelihood.sort(dim=-1, descending=True, stable=True)
    before = sorted_.cumsum(-1) - sorted_
    nucleus = torch.where(before < top_p, sorted_, 0.0)
    edges = nucleus.cumsum(-1)
    chosen = (edges <= draws.to(edges)[:, None] * edges[:, -1:]).sum(-1)
    return ids.gather(-1, chosen[:, None]).squeeze(-1)
