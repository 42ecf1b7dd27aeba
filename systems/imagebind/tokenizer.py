"""ImageBind's texts as ids: CLIP's byte-pair encoding, from the vocabulary that open_clip ships.

Text is repaired (ftfy), HTML entities are resolved, spaces joined, letters lowered. What is too long loses its end, and
the end-of-text id always stands last: the text tower is read at that id. (Older copies of the official code, CoDi-2's
among them, cut it off, and then read the tower at whichever word had the largest id.)

A text tower of V ids reads them with the first V - 514 of the 48,894 merges, start and end being its last two ids: any
text still, in more of them. The official tower has all merges.

Source: the official imagebind/models/multimodal_preprocessors.py, commit 53680b0, class SimpleTokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any

from torch import Tensor

from systems.imagebind.config import IDS_WITHOUT_MERGES, MERGES

CONTEXT, VOCABULARY = 77, IDS_WITHOUT_MERGES + MERGES
START, END = "<|startoftext|>", "<|endoftext|>"


def tokenize(texts: Sequence[str], context: int = CONTEXT, vocabulary: int = VOCABULARY) -> Tensor:
    """Ids (texts, context), int64: start (vocabulary - 2), the text's, end (vocabulary - 1), then zeros."""
    ids: Tensor = _tokenizer(vocabulary)(list(texts), context_length=context)
    return ids


@cache
def _tokenizer(vocabulary: int) -> Any:
    # open_clip takes seconds to import, and only texts need it.
    import regex
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    # open_clip spells the two special words otherwise than ImageBind; what stands in a text is read as ImageBind does.
    others = [word for word, number in tokenizer.encoder.items() if number in tokenizer.all_special_ids]
    words = [*islice(tokenizer.encoder, vocabulary - len(others)), START, END]
    tokenizer.encoder = {word: number for number, word in enumerate(words)}
    tokenizer.bpe_ranks = dict(islice(tokenizer.bpe_ranks.items(), vocabulary - IDS_WITHOUT_MERGES))
    tokenizer.sot_token_id, tokenizer.eot_token_id = (tokenizer.encoder[word] for word in (START, END))
    tokenizer.cache = {START: START, END: END}
    spelled = tokenizer.pat.pattern.removeprefix("|".join(others))
    tokenizer.pat = regex.compile(f"{regex.escape(START)}|{regex.escape(END)}{spelled}", regex.IGNORECASE)
    return tokenizer
