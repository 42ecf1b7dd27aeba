"""The bridges between ImageBind's space and the language model's: one in, one out, each shared by all modalities."""

from __future__ import annotations

from torch import nn


def projector(inputs: int, outputs: int) -> nn.Sequential:
    """(..., inputs) -> (..., outputs): Linear, GELU (exact), LayerNorm (eps 1e-5), Linear; state-dict keys 0, 2, 3.

    Source: the released code's codi_llama_proj (1024 -> 4096) and codi_llama_decode (4096 -> 1024); the paper's MLP.
    """
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.LayerNorm(outputs), nn.Linear(outputs, outputs))
