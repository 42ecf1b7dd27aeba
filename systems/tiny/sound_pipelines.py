"""`audioldm2-tiny` for `anybench init`: a whole AudioLDM2 of random weights, all that reads its captions included.

It answers with sounds of any length, a 5 s sound in about 50 ms a step on one core, and weighs less than 2 MB. What it
makes means nothing, but every part of it is heard: other captions and other sounds give other answers.

The structure is that of cvssp/audioldm2 with other widths: CLAP (both halves: the published folder holds them),
Flan-T5's encoder, the projections, GPT-2 and its 8 tokens, and the UNet, the VAE and the vocoder of codi2-tiny. Its
tokenizers spell: RoBERTa's in bytes, T5's in the printable characters of ASCII, and no others.

The same seed gives the same bytes.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, DDIMScheduler
from torch import nn
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from systems.codi2.checkpoint import SOUND_TOKENS
from systems.codi2.decoder_parts import sound_unet, sound_vae, vocoder
from systems.codi2.sizes import TINY, frozen
from systems.codi2.tiny import amplify
from systems.diffusers_pipeline import quiet
from systems.tiny.pipelines import byte_letters, deterministic, save

CLAP_WIDTH = 32
# What the UNet's two streams are told in: TINY.sound_unet["cross_attention_dim"].
_, GPT2_WIDTH, T5_WIDTH = TINY.sound_unet["cross_attention_dim"][0]
# RoBERTa counts positions from 2.
LONGEST_TEXT, ROBERTA_POSITIONS = 512, 514
# A deviation at which a random GPT-2 of this width tells texts apart; its own, 0.02, is for training.
SPREAD = 0.2


def audioldm2(folder: Path, seed: int) -> None:
    """Writes an AudioLDM2Pipeline, text to sound; UsageError where `folder` is not empty."""
    with deterministic(folder, seed), quiet():
        heard = vocoder(TINY)
        amplify(heard)
        roberta, t5 = _roberta_tokenizer(), _t5_tokenizer()
        pipeline = AudioLDM2Pipeline(
            vae=sound_vae(TINY),
            text_encoder=_clap(roberta),
            text_encoder_2=_t5(t5),
            projection_model=_projections(),
            language_model=_gpt2(),
            tokenizer=roberta,
            tokenizer_2=t5,
            feature_extractor=ClapFeatureExtractor(),
            unet=sound_unet(TINY),
            scheduler=DDIMScheduler(
                beta_start=0.0015,
                beta_end=0.0195,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            vocoder=heard,
        )
        save(pipeline, folder)


def _clap(tokenizer: RobertaTokenizer) -> ClapModel:
    text = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLAP_WIDTH,
        intermediate_size=2 * CLAP_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=ROBERTA_POSITIONS,
        projection_dim=CLAP_WIDTH,
    )
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        hidden_size=64,
        projection_dim=CLAP_WIDTH,
    )
    return frozen(ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=CLAP_WIDTH)))


def _t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=16,
        d_ff=2 * T5_WIDTH,
        num_layers=1,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return frozen(T5EncoderModel(config))


def _projections() -> Any:
    # The misspelt name is diffusers'.
    made: Any = AudioLDM2ProjectionModel(CLAP_WIDTH, T5_WIDTH, langauge_model_dim=GPT2_WIDTH)
    for name, weight in made.named_parameters():
        if name.startswith(("sos", "eos")):
            nn.init.normal_(weight)
    return frozen(made)


def _gpt2() -> GPT2LMHeadModel:
    """It is never given a token, and has words only because it must."""
    config: Any = GPT2Config(
        vocab_size=2,
        bos_token_id=0,
        eos_token_id=1,
        n_embd=GPT2_WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=2 * LONGEST_TEXT,
        initializer_range=SPREAD,
    )
    config.max_new_tokens = SOUND_TOKENS
    return frozen(GPT2LMHeadModel(config))


def _roberta_tokenizer() -> RobertaTokenizer:
    """Begin, padding, end and unknown as RoBERTa numbers them, a letter for each byte, the mask."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_letters(), "<mask>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=LONGEST_TEXT)


def _t5_tokenizer() -> T5Tokenizer:
    """Padding, end and unknown as T5 numbers them, the mark of a word's beginning, a piece for each character."""
    characters = [character for character in string.printable if not character.isspace()]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *characters]
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0, model_max_length=LONGEST_TEXT)
