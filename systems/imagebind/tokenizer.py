"""ImageBind's texts as ids: CLIP's byte-pair encoding, from the vocabulary that open_clip ships.

Text is repaired (ftfy), HTML entities are resolved, spaces joined, letters lowered. What is too long loses its end, and
the end-of-text id always stands last: the text tower is read at that id. (Older copies of the official code, CoDi-2's
among them, cut it off, and then read the tower at whichever word had the largest id.)

Source: the official imagebind/models/multimodal_preprocessors.py, commit 53680b0, class SimpleTokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import Tensor

CONTEXT = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def tokenize(texts: Sequence[str], context: int = CONTEXT) -> Tensor:
    """Ids (texts, context), int64: start (49406), the text's, end (49407), then zeros."""
    ids: Tensor = _tokenizer()(list(texts), context_length=context)
    return ids


@cache
def _tokenizer() -> Any:
    # open_clip takes seconds to import, and only texts need it.
    import regex
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    # open_clip spells the two special words otherwise than ImageBind; what stands in a text is read as ImageBind does.
    others = [word for word, number in tokenizer.encoder.items() if number in tokenizer.all_special_ids]
    for own, other in zip((START, END), others, strict=True):
        tokenizer.encoder[own] = tokenizer.encoder.pop(other)
    tokenizer.cache = {START: START, END: END}
    spelled = tokenizer.pat.pattern.removeprefix("|".join(others))
    tokenizer.pat = regex.compile(f"{regex.escape(START)}|{regex.escape(END)}{spelled}", regex.IGNORECASE)
    return tokenizer
