"""A CoDi-2 checkpoint's folder: what was trained, in codi2.safetensors, and whether everything it stands on is here.

The tensors, for a language model of `hidden` width and ImageBind vectors of `width`:

    lora.model.layers.{i}.self_attn.{q,k,v,o}_proj.lora_A.weight     (rank, inputs)
    lora.model.layers.{i}.self_attn.{q,k,v,o}_proj.lora_B.weight     (outputs, rank)
    input_projector.{0,2,3}.{weight,bias}                            width -> hidden: Linear, GELU, LayerNorm, Linear
    output_projector.{0,2,3}.{weight,bias}                           hidden -> width, the same
    tags.input_embeddings, tags.output_embeddings                    (6, hidden)
    sound.language_of_audio.{weight,bias}                            width -> 8 * that of the UNet's first stream
    video.context.{weight,bias}                                      width -> 1 to 8 times what the UNet reads
    image_editing.conv_in.weight                                     (out, 4, 3, 3), as the UNet's own columns
    sound_editing.conv_in.weight                                     (out, 8, 3, 3), the same

The rows of the tags' are those of <image> </image> <audio> </audio> <video> </video>, which the language model reads
and writes as the six tokens after its own vocabulary. `sound` and `video` are there where codi2.json names the decoder
and only there; editing columns are there where it was trained to edit. No other key may be there, none may be missing.
Importing this module imports no torch: the driver looks at checkpoints with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from harness.errors import UsageError, one_line
from harness.nouns import Case
from systems.codi2.backbones import find_backbone
from systems.codi2.decoders import (
    CONFIG_FILE,
    LARGEST_WIDTH,
    ImageWidths,
    Shape,
    SoundWidths,
    VideoWidths,
    read_image_decoder,
    read_sound_decoder,
    read_video_decoder,
)
from systems.codi2.description import FILE, Description, Lora, read_description, read_object
from systems.imagebind.config import HUGE, ImageBindConfig, read_config
from systems.pipeline_folder import find_vocabulary, refuse_kernels

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "codi2.safetensors"
TAGS = ("<image>", "</image>", "<audio>", "</audio>", "<video>", "</video>")
# How many vectors a sound decoder is told of a feature (as many as GPT-2 makes of a text in AudioLDM2Pipeline), and the
# most that a video decoder is.
SOUND_TOKENS, MOST_VIDEO_TOKENS = 8, 8
LANGUAGE_OF_AUDIO, VIDEO_CONTEXT = "sound.language_of_audio", "video.context"
IMAGE_EDITING, SOUND_EDITING = "image_editing.conv_in.weight", "sound_editing.conv_in.weight"
# What safetensors calls float32, float16 and bfloat16.
DTYPES = ("F32", "F16", "BF16")
MOST_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class Widths:
    """The language model's: of its states, and of what q (`queries`) and k and v (`keys`) project them to."""

    hidden: int
    layers: int
    queries: int
    keys: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's folder with its backbones found and verified: local paths, and the sizes that they state.

    `imagebind` is the official file or a folder, `language_model` a folder in the format of transformers and the
    decoders are ones of diffusers. `features` is the width of ImageBind's vectors.
    """

    folder: Path
    description: Description
    imagebind: Path
    language_model: Path
    image_decoder: Path
    sound_decoder: Path | None
    video_decoder: Path | None
    widths: Widths
    features: int
    image_widths: ImageWidths
    sound_widths: SoundWidths | None
    video_widths: VideoWidths | None


@dataclass(frozen=True, slots=True)
class Adapters:
    """What was trained, all float32 and finite, on the CPU.

    `lora` by the names that the weights have in the language model: "model.layers.0.self_attn.q_proj.lora_A.weight".
    The projectors are state dicts of systems.codi2.projectors.projector. `input_embeddings` and `output_embeddings`
    (6, hidden) are the tags' rows of embed_tokens and lm_head, in the order of `TAGS`. `language_of_audio` and
    `video_context` have the "weight" and the "bias" of a linear layer, and are None where the checkpoint names no such
    decoder. Columns for editing, (out, source channels, height, width), are None where it was not trained to edit.
    """

    lora: Mapping[str, Tensor]
    input_projector: Mapping[str, Tensor]
    output_projector: Mapping[str, Tensor]
    input_embeddings: Tensor
    output_embeddings: Tensor
    language_of_audio: Mapping[str, Tensor] | None = None
    video_context: Mapping[str, Tensor] | None = None
    image_editing: Tensor | None = None
    sound_editing: Tensor | None = None


def check(checkpoint: str, cases: Sequence[Case], samples: int) -> None:
    """Looks at a checkpoint before anything runs: descriptions, headers and digests, no weights.

    Raises UsageError, in one line that names the file and what is wrong with it.
    """
    check_tensors(read_checkpoint(Path(checkpoint)))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads codi2.json and finds every backbone; UsageError for what is missing, another, or does not go together."""
    return find_backbones(folder, read_description(folder))


def find_backbones(folder: Path, description: Description) -> Checkpoint:
    """The checkpoint that a description describes, its tensors unread; UsageError as `read_checkpoint`."""
    imagebind = find_backbone(folder, "imagebind", description.imagebind)
    language_model = find_backbone(folder, "language_model", description.language_model)
    image_decoder = find_backbone(folder, "image_decoder", description.image_decoder)
    sound, video = description.sound_decoder, description.video_decoder
    sound_decoder = find_backbone(folder, "sound_decoder", sound) if sound else None
    video_decoder = find_backbone(folder, "video_decoder", video) if video else None
    perceiving = _imagebind_config(imagebind)
    _check_image_tokens(folder, description.reading.image_tokens, imagebind)
    return Checkpoint(
        folder,
        description,
        imagebind,
        language_model,
        image_decoder,
        sound_decoder,
        video_decoder,
        widths=_language_widths(language_model),
        features=perceiving.dimension,
        image_widths=read_image_decoder(image_decoder, perceiving.dimension),
        sound_widths=read_sound_decoder(sound_decoder, perceiving.dimension) if sound_decoder else None,
        video_widths=read_video_decoder(video_decoder) if video_decoder else None,
    )


def check_tensors(checkpoint: Checkpoint) -> None:
    """UsageError naming codi2.safetensors and the first tensors that are missing, unexpected or misshapen."""
    file = checkpoint.folder / TENSORS
    found = _header(file)
    shapes = {key: shape for key, (_, shape) in found.items()}
    expected = {
        **adapter_shapes(checkpoint.widths, checkpoint.features, checkpoint.description.lora),
        **_decoder_shapes(file, checkpoint, shapes),
    }
    refuse_others(file, expected, shapes)
    for key, (dtype, _) in found.items():
        if dtype not in DTYPES:
            raise UsageError(f"{file}: {key} is {dtype}; {', '.join(DTYPES)} would do")


def refuse_others(file: Path, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    """UsageError naming the file and the first of its tensors that are missing, unexpected, and misshapen."""
    missing = [f"{key} {shape}" for key, shape in expected.items() if key not in found]
    unexpected = [f"{key} {found[key]}" for key in sorted(found.keys() - expected.keys())]
    misshapen = [
        f"{key} is {found[key]} where {shape} is expected"
        for key, shape in expected.items()
        if found.get(key, shape) != shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    wrong = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in kinds if keys]
    if wrong:
        raise UsageError(f"{file}: tensors of another model than {FILE} and its backbones: {', '.join(wrong)}")


def read_adapters(checkpoint: Checkpoint) -> Adapters:
    """The trained tensors; UsageError as `check_tensors`, and for a number that is not finite."""
    from safetensors.torch import load_file

    check_tensors(checkpoint)
    file = checkpoint.folder / TENSORS
    tensors = {key: tensor.float() for key, tensor in load_file(file).items()}
    for key, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UsageError(
                f"{file}: {key} holds NaN or infinity; this training went wrong, take an earlier checkpoint"
            )
    return adapters_of(tensors)


def write_adapters(folder: Path, adapters: Adapters) -> None:
    """Writes codi2.safetensors, tensors in the dtype that they have."""
    import torch
    from safetensors.torch import save_file

    named = {
        **_above(adapters.lora, "lora"),
        **_above(adapters.input_projector, "input_projector"),
        **_above(adapters.output_projector, "output_projector"),
        "tags.input_embeddings": adapters.input_embeddings,
        "tags.output_embeddings": adapters.output_embeddings,
        **_above(adapters.language_of_audio or {}, LANGUAGE_OF_AUDIO),
        **_above(adapters.video_context or {}, VIDEO_CONTEXT),
    }
    for key, columns in ((IMAGE_EDITING, adapters.image_editing), (SOUND_EDITING, adapters.sound_editing)):
        if columns is not None:
            named[key] = columns
    # Copies: tensors that share memory cannot be saved.
    apart = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in named.items()}
    save_file(apart, folder / TENSORS, metadata={"format": "pt"})


def adapters_of(tensors: Mapping[str, Tensor]) -> Adapters:
    """The tensors of codi2.safetensors by part; KeyError where the tags are missing."""
    return Adapters(
        lora=_below(tensors, "lora"),
        input_projector=_below(tensors, "input_projector"),
        output_projector=_below(tensors, "output_projector"),
        input_embeddings=tensors["tags.input_embeddings"],
        output_embeddings=tensors["tags.output_embeddings"],
        language_of_audio=_below(tensors, LANGUAGE_OF_AUDIO) or None,
        video_context=_below(tensors, VIDEO_CONTEXT) or None,
        image_editing=tensors.get(IMAGE_EDITING),
        sound_editing=tensors.get(SOUND_EDITING),
    )


def adapter_shapes(widths: Widths, features: int, lora: Lora) -> dict[str, Shape]:
    """The tensors that every codi2.safetensors has, by their keys, in the order of the model."""
    hidden = widths.hidden
    return {
        **dict(_lora_shapes(widths, lora.rank)),
        **dict(_projector_shapes("input_projector", features, hidden)),
        **dict(_projector_shapes("output_projector", hidden, features)),
        "tags.input_embeddings": (len(TAGS), hidden),
        "tags.output_embeddings": (len(TAGS), hidden),
    }


def sound_shapes(widths: SoundWidths, features: int) -> dict[str, Shape]:
    """The tensors that a sound decoder adds."""
    return dict(_linear_shapes(LANGUAGE_OF_AUDIO, features, SOUND_TOKENS * widths.tokens))


def video_shapes(widths: VideoWidths, features: int, tokens: int) -> dict[str, Shape]:
    """The tensors that a video decoder adds which is told that many tokens of a feature."""
    return dict(_linear_shapes(VIDEO_CONTEXT, features, tokens * widths.tokens))


def _decoder_shapes(file: Path, checkpoint: Checkpoint, found: Mapping[str, Shape]) -> dict[str, Shape]:
    """What a checkpoint has for its decoders: what each of them needs, and the columns that are `found`."""
    features, sound, video = checkpoint.features, checkpoint.sound_widths, checkpoint.video_widths
    shapes: dict[str, Shape] = {}
    columns = {IMAGE_EDITING: checkpoint.image_widths.columns}
    if sound:
        shapes |= sound_shapes(sound, features)
        columns[SOUND_EDITING] = sound.columns
    if video:
        shapes |= video_shapes(video, features, _video_tokens(file, found, video))
    return shapes | {key: shape for key, shape in columns.items() if key in found}


def _video_tokens(file: Path, found: Mapping[str, Shape], widths: VideoWidths) -> int:
    """How many tokens a feature becomes, which only the tensor itself says."""
    key = f"{VIDEO_CONTEXT}.weight"
    rows = (*found.get(key, ()), widths.tokens)[0]
    if rows % widths.tokens or not 1 <= rows // widths.tokens <= MOST_VIDEO_TOKENS:
        raise UsageError(
            f"{file}: {key} has {rows} rows; 1 to {MOST_VIDEO_TOKENS} times {widths.tokens}, which is what the video "
            "decoder's UNet reads, would do"
        )
    return rows // widths.tokens


def _lora_shapes(widths: Widths, rank: int) -> Iterator[tuple[str, Shape]]:
    hidden, queries, keys = widths.hidden, widths.queries, widths.keys
    projections = {"q": (hidden, queries), "k": (hidden, keys), "v": (hidden, keys), "o": (queries, hidden)}
    for layer in range(widths.layers):
        for projection, (inputs, outputs) in projections.items():
            name = f"lora.model.layers.{layer}.self_attn.{projection}_proj"
            yield f"{name}.lora_A.weight", (rank, inputs)
            yield f"{name}.lora_B.weight", (outputs, rank)


def _projector_shapes(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    for number, shape in (("0", (outputs, inputs)), ("2", (outputs,)), ("3", (outputs, outputs))):
        yield f"{name}.{number}.weight", shape
        yield f"{name}.{number}.bias", (outputs,)


def _linear_shapes(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _header(file: Path) -> dict[str, tuple[str, Shape]]:
    """(dtype, shape) of each tensor, the tensors themselves unread."""
    if not file.is_file():
        raise UsageError(f"{file.parent}: {file.name} is missing, so this is no CoDi-2 checkpoint")
    try:
        # "np" since torch would be imported; no tensor is read.
        with safe_open(file, framework="np") as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118, it is no dict
            return {key: (one.get_dtype(), tuple(one.get_shape())) for key, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file} is no safetensors file, or was cut short: {one_line(error)}") from error


def _below(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _above(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {f"{part}.{key}": tensor for key, tensor in tensors.items()}


def image_tokens(imagebind: Path) -> int:
    """How many vectors an ImageBind has for a picture; UsageError where it does not see any."""
    vision = _imagebind_config(imagebind).vision
    if vision is None:
        raise UsageError(f"{imagebind}: it has no vision tower, and CoDi-2 reads pictures with it")
    return 1 + (vision.picture // vision.patch) ** 2


def _imagebind_config(path: Path) -> ImageBindConfig:
    """That of a folder; the official file, or a folder that holds it, is the huge one."""
    return read_config(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else HUGE


def _check_image_tokens(folder: Path, tokens: int, imagebind: Path) -> None:
    most = image_tokens(imagebind)
    if tokens not in (1, most):
        raise UsageError(f"{folder / FILE}: reading: image_tokens is {tokens}; of this ImageBind 1 or {most} would do")


def _language_widths(path: Path) -> Widths:
    file = path / CONFIG_FILE
    if not file.is_file():
        raise UsageError(
            f"{path}: {CONFIG_FILE} is missing; the folder of a Llama in the format of transformers would do"
        )
    said = read_object(file)
    if said.get("model_type") != "llama":
        raise UsageError(f"{file}: model_type is {said.get('model_type')!r}; llama would do")
    if not any(path.glob("*.safetensors")):
        raise UsageError(f"{path}: no safetensors are there; pickled weights are refused, convert them")
    if said.get("tie_word_embeddings"):
        raise UsageError(f"{file}: tie_word_embeddings is true; the tags need a model with embeddings of their own")
    refuse_kernels(path)
    find_vocabulary(path)
    hidden, heads = _size(file, said, "hidden_size"), _size(file, said, "num_attention_heads")
    width = _size(file, said, "head_dim", hidden // heads)
    layers = _size(file, said, "num_hidden_layers", most=MOST_LAYERS)
    return Widths(hidden, layers, heads * width, _size(file, said, "num_key_value_heads", heads) * width)


def _size(
    file: Path, said: Mapping[str, Any], key: str, otherwise: int | None = None, most: int = LARGEST_WIDTH
) -> int:
    value = said.get(key)
    value = otherwise if value is None else value
    if type(value) is not int or not 1 <= value <= most:
        raise UsageError(f"{file}: {key} is {value!r}; a whole number from 1 to {most} would do")
    return value
