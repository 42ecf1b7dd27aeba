"""The tokenizer of the tiny language model: a token for each word of the drawn world, bytes for all else.

Ids as in Llama: unknown, beginning, end, the 256 bytes, then the words. As with Llama's tokenizer a text begins with a
space of its own, which is taken away again when it is read back; so any text is spelled, and given back exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from systems.codi2.templates import TEMPLATES
from systems.tiny.pipelines import byte_letters
from systems.tiny.words import Lexicon, phrasings

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
LONGEST = 2048


def tokenizer(lexicon: Lexicon) -> PreTrainedTokenizerFast:
    """That of a world; the same world gives the same one."""
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = {word for text in _texts(lexicon) for word, _ in bytewise.pre_tokenize_str(f" {text}")}
    letters = byte_letters()
    tokens = [UNKNOWN, START, END, *letters, *sorted(words - set(letters))]
    # Without merges a word that is no token falls apart into its bytes.
    vocabulary = {token: number for number, token in enumerate(tokens)}
    spelling = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    spelling.normalizer = normalizers.Prepend(" ")
    spelling.pre_tokenizer = bytewise
    spelling.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    spelling.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, tokens.index(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=spelling, bos_token=START, eos_token=END, unk_token=UNKNOWN, model_max_length=LONGEST
    )


def _texts(lexicon: Lexicon) -> Iterator[str]:
    """All that is said around the world's words, capitals as they stand, and the world's words."""
    yield "[INST] ( ) [/INST]"
    for text in (*(template.text for template in TEMPLATES.values()), *phrasings()):
        yield re.sub(r"\{[^{}]*\}", "x", text)
    yield "an image and a sound, a text"
    yield from lexicon.words()
