"""`codi2-tiny` for `anybench init`: a whole CoDi-2 of 4 million random weights, which behaves as one.

Its pictures, sounds and clips mean nothing, and yet it goes through everything that a full-size checkpoint goes
through: it asks for a picture by itself (for a sound or a clip where one is wanted and it ended without), what it
predicts depends on all that it was shown, its image decoder hears the prediction above the noise, and its editing
columns see a source. Random networks do none of that, so a little is measured and set, on pictures, sounds and words
that are random too:

- ImageBind's heads take the mean of what they see away (by the bias of their LayerNorm) and scale what is left to
  `FEATURE_NORM`, as if they had been trained to tell media apart.
- The language model's weights have gain 1 (transformers' own are so small that a state is its token alone), queries
  and keys more, so that attention chooses. lm_head has the row of <image> where the last token of a question is, and
  the row of the end where a closing tag is and the last token of a question is not: where <image> cannot be said, some
  words are, and then the end by chance.
- The output projector's last layer is set so that predictions have mean zero and a mean norm of 1, which is
  `feature_scale` in the image decoder's units.

The tokenizer is a byte-level BPE with a beginning and an end, as Llama's: it spells any text and gives it back.
The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from systems.codi2.checkpoint import Adapters, write_adapters
from systems.codi2.conversation import Decoding, Exchange, Request, Vectors
from systems.codi2.decoder_parts import image_decoder, sound_decoder, video_decoder
from systems.codi2.description import Backbone, Description, Reading, write_description
from systems.codi2.language import LanguageModel
from systems.codi2.sizes import TINY, adapters, imagebind, language_model
from systems.diffusers_pipeline import quiet
from systems.imagebind.loading import save as save_imagebind
from systems.imagebind.model import ImageBind
from systems.tiny.pipelines import byte_letters, clip_merges, clip_tokenizer, deterministic, save

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
SPACE = "\u0120"

# Four times the norm of pure noise, sqrt(64): at noise level 500 the feature is still four times as long.
FEATURE_NORM = 32.0
READING = Reading(
    image_tokens=17,
    input_norms="unit",
    prompt_style="llama2-chat",
    feedback=True,
    feature_scale=FEATURE_NORM,
)
QUESTION_ENDS = "]"
# The logits that decide what is said are about five times this (a state keeps 0.4 of its token, and has norm 11);
# those of all other tokens have standard deviation 1, so that the largest of them is at 3.4. That of the end has twice
# this elsewhere: one word in four or five is the last one.
SPEECH_GAIN = 3.0
# What projections make of inputs of unit variance: q and k, and then o and down, which write into the state.
ATTENTION_GAIN = 2.0
RESIDUAL_GAIN = 0.7
LORA_GAIN = 0.25
# Sounds have a standard deviation of about 0.1; at twice the gain they would be clipped.
VOCODER_GAIN = 1.4
PROBES = 32
PROBE_WORDS = "a photo of the dog in snow on the beach with red boots an old painting city night river"


def codi2(folder: Path, seed: int) -> None:
    """Writes a CoDi-2 checkpoint with all of its backbones; UsageError where `folder` is not empty."""
    with deterministic(folder, seed):
        folder.mkdir(parents=True, exist_ok=True)
        perceiving = _perceiving()
        save_imagebind(perceiving, folder / "imagebind")
        tokenizer = _tokenizer()
        speaking = _language_model()
        trained = _adapters(speaking, tokenizer)
        save(speaking, folder / "language_model")
        save(tokenizer, folder / "language_model")
        write_adapters(folder, _centred(trained, perceiving, folder / "language_model"))
        with quiet():  # pipelines say what they lack
            for name, pipeline in _decoders():
                save(pipeline, folder / name)
        write_description(folder, _description())


@torch.no_grad()
def _perceiving() -> ImageBind:
    """An ImageBind that gives random media embeddings of mean zero, and of the mean norm `FEATURE_NORM`."""
    model = imagebind(TINY)
    for name, weight in model.named_parameters():
        if name.endswith("in_proj_weight"):
            weight.mul_(ATTENTION_GAIN)
    for modality, media in _media().items():
        _centre(model, modality, media)
    return model


def _centre(model: ImageBind, modality: str, media: Tensor) -> None:
    head: Any = model.modality_heads[modality]
    norm, *_, last = head.proj if modality == "text" else head
    # The last layer has no bias that could take its mean away, the LayerNorm before it has.
    norm.bias -= _rounded(_outputs_of(norm, lambda: model.views(modality, media)).mean(0))
    last.weight *= _rounded(FEATURE_NORM / model.views(modality, media).norm(dim=-1).mean())


def _outputs_of(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """What a layer gives while something runs."""
    given: list[Tensor] = []
    hook = layer.register_forward_hook(lambda layer, inputs, output: given.append(output))
    run()
    hook.remove()
    return torch.cat(given)


def _media() -> dict[str, Tensor]:
    """Random pictures, sounds and texts as ImageBind takes them: smooth ones, since noise looks all the same."""
    config = TINY.imagebind
    assert config.vision is not None and config.audio is not None and config.text is not None
    picture, audio, text = config.vision.picture, config.audio, config.text
    ids = torch.zeros(PROBES, text.context, dtype=torch.long)
    ids[:, 0], ids[:, 9] = text.vocabulary - 2, text.vocabulary - 1
    ids[:, 1:9] = torch.randint(text.vocabulary - 2, (PROBES, 8))
    return {
        # Of photographs the colours differ less than the light does, and there is some texture.
        "vision": _smooth(1, picture, picture)
        + 0.3 * _smooth(3, picture, picture)
        + 0.3 * torch.randn(PROBES, 1, picture, picture),
        "audio": _smooth(1, audio.height, audio.length)[:, None],
        "text": ids,
    }


def _smooth(channels: int, height: int, width: int) -> Tensor:
    """(PROBES, channels, height, width) of about unit variance."""
    coarse = torch.randn(PROBES, channels, 4, 4)
    return interpolate(coarse, size=(height, width), mode="bicubic")


def _tokenizer() -> PreTrainedTokenizerFast:
    """Ids as in Llama: unknown, beginning, end, the 256 bytes, then what CLIP's merges make."""
    letters = byte_letters()
    merges = _merges(letters, TINY.language_model.vocab_size - len(letters) - 3)
    tokens = [UNKNOWN, START, END, *letters, *(first + second for first, second in merges)]
    bpe = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, tokens.index(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=TINY.language_model.max_position_embeddings,
    )


def _merges(letters: list[str], count: int) -> list[tuple[str, str]]:
    """CLIP's first merges; where one ends a word, it is followed by one that puts the space before that word."""
    known, learned = set(letters), []
    for first, second in clip_merges():
        word = first + second.removesuffix("</w>")
        for pair in [(first, second.removesuffix("</w>"))] + [(SPACE, word)] * second.endswith("</w>"):
            if set(pair) <= known and "".join(pair) not in known:
                known.add("".join(pair))
                learned.append(pair)
    return learned[:count]


@torch.no_grad()
def _language_model() -> LlamaForCausalLM:
    """Token embeddings of unit variance, and layers that add as much to them as they are."""
    model = language_model(TINY)
    model.model.embed_tokens.weight.normal_()
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            weight.normal_(std=_gain(name) / weight.shape[1] ** 0.5)
    model.lm_head.weight.normal_(std=model.config.hidden_size**-0.5)
    return model


def _gain(name: str) -> float:
    if "q_proj" in name or "k_proj" in name:
        return ATTENTION_GAIN
    return RESIDUAL_GAIN if "o_proj" in name or "down_proj" in name else 1.0


@torch.no_grad()
def _adapters(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Adapters:
    """Random ones, but that <image> follows a question; the end, which follows closing tags, is the `model`'s own."""
    drawn = adapters(TINY)
    drawn.input_embeddings.normal_()
    question = normalize(model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(QUESTION_ENDS)], dim=0)
    closed = normalize(drawn.input_embeddings[1::2], dim=1).sum(0)
    drawn.output_embeddings[0] = SPEECH_GAIN * question
    model.lm_head.weight[tokenizer.eos_token_id] = SPEECH_GAIN * (closed - question)
    return replace(
        drawn, lora={name: LORA_GAIN * tensor if "lora_B" in name else tensor for name, tensor in drawn.lora.items()}
    )


@torch.no_grad()
def _centred(trained: Adapters, perceiving: ImageBind, folder: Path) -> Adapters:
    """The adapters with the output projector's last layer set so that predictions have mean zero and mean norm 1."""
    predicted = _predictions(trained, perceiving, folder)
    projector = dict(trained.output_projector)
    mean = _rounded(predicted.mean(0))
    norm = _rounded((predicted - mean).norm(dim=1).mean())
    projector["3.weight"] = projector["3.weight"] / norm
    projector["3.bias"] = (projector["3.bias"] - mean) / norm
    return replace(trained, output_projector=projector)


def _predictions(trained: Adapters, perceiving: ImageBind, folder: Path) -> Tensor:
    """Features (PROBES, dim) that answer to a random picture among random words."""
    model = LanguageModel.load(folder, trained, TINY.lora, READING, torch.float32)
    seen = perceiving.image_tokens(_media()["vision"])
    seen = seen / seen[:, :1].norm(dim=-1, keepdim=True)
    words = PROBE_WORDS.split()
    requests = []
    for number, vectors in enumerate(seen):
        chosen = [" ".join(words[index] for index in torch.randint(len(words), (6,)).tolist()) for _ in range(2)]
        question = (chosen[0], Vectors("image", vectors), chosen[1])
        requests.append(Request((Exchange(question),), ("image",), seed=0, name=f"probe {number}"))
    answers = model.answer(requests, Decoding(tags="forced"))
    return torch.stack([answer.features[0].values for answer in answers])


def _decoders() -> Iterator[tuple[str, Any]]:
    yield "image_decoder", image_decoder(TINY, clip_tokenizer())
    sounding: Any = sound_decoder(TINY)
    amplify(sounding.vocoder)
    yield "sound_decoder", sounding
    yield "video_decoder", video_decoder(TINY, clip_tokenizer())


@torch.no_grad()
def amplify(vocoder: nn.Module) -> None:
    """Convolutions that are heard; transformers' own are too small for that."""
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            layer.weight.normal_(std=VOCODER_GAIN / layer.weight[0].numel() ** 0.5)


def _description() -> Description:
    return Description(
        imagebind=Backbone("imagebind"),
        language_model=Backbone("language_model"),
        image_decoder=Backbone("image_decoder"),
        sound_decoder=Backbone("sound_decoder"),
        video_decoder=Backbone("video_decoder"),
        lora=TINY.lora,
        reading=READING,
    )


def _rounded(measured: Tensor) -> Tensor:
    """So far that last bits, which differ from processor to processor, do not change the bytes that are written."""
    return measured.round(decimals=2)
