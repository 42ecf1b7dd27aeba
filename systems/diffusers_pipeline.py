"""Any image pipeline of diffusers as a system: text to image, image variation, image to image, instructed editing.

Conventions
- A turn's prompt is its text inputs joined by a space; its photograph is its first image input. Turns are answered
  one by one and know nothing of each other. Every wanted output is an image, encoded as PNG.
- Randomness: output k of an item (counted over its turns) has its own generator, seeded with item.seed + k. Generators
  live on the CPU whatever the device, so that the same noise is drawn everywhere.
- One batch is one call of the pipeline. The same batch again is bitwise the same; other batch sizes agree to rounding
  (on the CPU, measured with the tiny pipelines: 1 step of 255 in float32, 11 in bfloat16).
- Image to image and InstructPix2Pix need every photograph at the size of the picture: it is scaled (Lanczos) to cover
  height x width and its centre is cut out, so aspect is kept and edges may go. StableUnCLIP sees its photograph through
  its own CLIP preprocessing, at any size.
- StableUnCLIP embeds the photograph without normalising it and adds noise by `noise_level` (0 to 999, its default 0),
  as the pipeline itself does; its unconditional branch is the zero vector.
- The safety checker is never loaded: it would answer with black pictures, which metrics would score as if they were
  the model's. Where a pipeline checks by other means and says so, the picture is flagged "safety_checked".
- Pictures are taken as floats, which is where NaN can still be seen (8 bit make it black): such a picture is flagged
  "nan", and its NaN is 0. DeepFloyd IF lays its visible watermark on 8 bit alone, so it is not there.
- Nothing is fetched: the checkpoint is a local folder.

Source: diffusers 0.42 (pipelines/stable_diffusion/), the hub's folder format.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from numpy.typing import NDArray
from PIL import Image, ImageOps
from transformers.utils import logging as transformers_logging

from harness.errors import UsageError, one_line
from harness.media import encode_image, read_image
from harness.nouns import Case, Item, Output, Turn
from systems.pipeline_folder import PipelineFolder, read_pipeline_folder

UNSET = -1
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TASKS = ("auto", "img2img")
# Published checkpoints name classes by what they were called then; diffusers renames this one too.
RENAMED = {"CLIPFeatureExtractor": "CLIPImageProcessor"}
# These look at their photograph through an encoder of their own, which also does without a prompt.
VARIATIONS = frozenset({"StableUnCLIPImg2ImgPipeline"})
# A config's values reach constructors unchecked, which raise nearly anything: ZeroDivisionError, ImportError, KeyError.
BROKEN_CHECKPOINT = Exception


class DiffusersPipeline:
    """A pipeline in the hub's folder format, built once and called a batch at a time.

    `task` "auto" runs the class that model_index.json names; "img2img" runs its image-to-image sibling on the same
    weights. `steps` >= 1, `guidance_scale` >= 0, `image_guidance_scale` >= 0, `strength` in (0, 1], `noise_level` >= 0,
    `height` and `width` in pixels: UNSET (-1) leaves the pipeline's own default. `dtype` is "float32", "bfloat16" or
    "float16"; the last needs a GPU.

    Raises UsageError, in one line, for a checkpoint that is incomplete, pickled or of another architecture, for a
    setting out of range, and for a setting that this pipeline does not take.
    """

    def __init__(
        self,
        checkpoint: str,
        device: str,
        *,
        task: str = "auto",
        steps: int = UNSET,
        guidance_scale: float = UNSET,
        image_guidance_scale: float = UNSET,
        strength: float = UNSET,
        noise_level: int = UNSET,
        height: int = UNSET,
        width: int = UNSET,
        dtype: str = "float32",
        negative_prompt: str = "",
    ) -> None:
        check_choice("task", task, TASKS)
        check_choice("dtype", dtype, tuple(DTYPES))
        if dtype == "float16" and device == "cpu":
            raise UsageError("dtype=float16 needs a GPU; on the CPU set dtype=float32 or dtype=bfloat16")
        given = {
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            "image_guidance_scale": image_guidance_scale,
            "strength": strength,
            "noise_level": noise_level,
        }
        _check_range("steps", steps, 1)
        _check_range("guidance_scale", guidance_scale, 0)
        _check_range("image_guidance_scale", image_guidance_scale, 0)
        _check_range("strength", strength, 0, 1)
        _check_range("noise_level", noise_level, 0, 999)

        self._pipeline = load_pipeline(Path(checkpoint), task, DTYPES[dtype]).to(device)
        self._name = type(self._pipeline).__name__
        self._parameters = inspect.signature(type(self._pipeline).__call__).parameters
        self._settings = {name: value for name, value in given.items() if value != UNSET}
        self._negative_prompt = negative_prompt
        self._check_settings()
        self._size = self._picture_size(height, width)

    def generate(self, items: Sequence[Item]) -> list[list[list[Output]]]:
        """For each item, for each turn, PNG images; UsageError naming the case that lacks a prompt or a photograph."""
        queues = [self._requests(item) for item in items]
        answers: list[list[Output]] = [[] for _ in items]
        for position in range(max(map(len, queues), default=0)):
            asking = [index for index, queue in enumerate(queues) if len(queue) > position]
            outputs = self._call([queues[index][position] for index in asking])
            for index, output in zip(asking, outputs, strict=True):
                answers[index].append(output)
        return [_by_turn(item.case, outputs) for item, outputs in zip(items, answers, strict=True)]

    def _requests(self, item: Item) -> list[_Request]:
        """One for each wanted output, over all turns."""
        wanting = [turn for turn in item.case.turns for _ in turn.wants]
        return [self._request(item, turn, item.seed + number) for number, turn in enumerate(wanting)]

    def _request(self, item: Item, turn: Turn, seed: int) -> _Request:
        case = item.case.id
        other = [modality for modality in turn.wants if modality != "image"]
        if other:
            raise UsageError(f"case {case} wants {other[0]}; {self._name} answers with images only")
        prompt = " ".join(media.text for media in turn.inputs if media.modality == "text")
        if not prompt and "prompt" in self._parameters and self._name not in VARIATIONS:
            raise UsageError(f"case {case} has no text input; {self._name} needs a prompt")
        return _Request(prompt, self._photograph(case, turn), seed)

    def _photograph(self, case: str, turn: Turn) -> Image.Image | None:
        if "image" not in self._parameters:
            return None
        photographs = [media for media in turn.inputs if media.modality == "image"]
        if not photographs:
            raise UsageError(f"case {case} has no image input; {self._name} needs a photograph")
        photograph = read_image(photographs[0])
        return cover(photograph, self._size) if self._size and self._name not in VARIATIONS else photograph

    def _call(self, batch: Sequence[_Request]) -> list[Output]:
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in batch]
        arguments: dict[str, Any] = {"generator": generators, **self._settings}
        if "prompt" in self._parameters:
            arguments["prompt"] = [request.prompt for request in batch]
        if "image" in self._parameters:
            arguments["image"] = [request.photograph for request in batch]
        if self._negative_prompt:
            arguments["negative_prompt"] = [self._negative_prompt] * len(batch)
        if self._size and "height" in self._parameters:
            arguments["height"], arguments["width"] = self._size
        if "output_type" in self._parameters:
            arguments["output_type"] = "np"
        answer = self._pipeline(**arguments)
        images = getattr(answer, "images", None)
        if images is None:
            raise UsageError(f"{self._name} does not answer with images; give the folder of an image pipeline")
        checked = getattr(answer, "nsfw_content_detected", None) or getattr(answer, "nsfw_detected", None)
        flags = checked or [False] * len(images)
        return [self._output(image, bool(flag)) for image, flag in zip(images, flags, strict=True)]

    def _output(self, image: Image.Image | NDArray[Any], checked: bool) -> Output:
        """One picture, Pillow's or floats of shape (height, width, channels) in [0, 1], with what is wrong with it."""
        flags = ["safety_checked"] if checked else []
        if isinstance(image, Image.Image):
            return Output("image", encode_image(image), tuple(flags))
        picture, wrong = picture_of(image)
        return Output("image", encode_image(picture), (*flags, *wrong))

    def _check_settings(self) -> None:
        given = set(self._settings) | ({"negative_prompt"} if self._negative_prompt else set())
        unknown = sorted(given - self._parameters.keys())
        if unknown:
            raise UsageError(
                f"{self._name} takes no {unknown[0].replace('num_inference_', '')}; leave that setting out"
            )
        if "strength" in self._parameters:
            steps, strength = self._value("num_inference_steps"), self._value("strength")
            if int(steps * strength) < 1:
                raise UsageError(f"steps={steps} at strength={strength} leaves no step to take; raise one of them")

    def _value(self, parameter: str) -> float:
        value: float = self._settings.get(parameter, self._parameters[parameter].default)
        return value

    def _picture_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) in pixels, a side that is not set being the weights' own; None leaves it to the pipeline."""
        resizes = "image" in self._parameters and self._name not in VARIATIONS
        if height == width == UNSET and not resizes:
            return None
        if not resizes and "height" not in self._parameters:
            raise UsageError(f"{self._name} takes no height and width; leave those settings out")
        own = self._own_size() if UNSET in (height, width) else (height, width)
        size = (own[0] if height == UNSET else height, own[1] if width == UNSET else width)
        factor = self._pipeline.vae_scale_factor
        if min(size) < factor or size[0] % factor or size[1] % factor:
            raise UsageError(f"height={size[0]} width={size[1]}: {self._name} needs multiples of {factor} pixels")
        return size

    def _own_size(self) -> tuple[int, int]:
        """What the weights were made for: diffusers keeps it in latent pixels, one number or (height, width)."""
        pipeline = self._pipeline
        models = [getattr(pipeline, name, None) for name in ("unet", "transformer")]
        said = [model.config.get("sample_size") for model in models if model is not None]
        sample = getattr(pipeline, "default_sample_size", None) or next(iter(said), None)
        match [sample, sample] if isinstance(sample, int) else sample:
            case [int(height), int(width)]:
                return height * pipeline.vae_scale_factor, width * pipeline.vae_scale_factor
        raise UsageError(f"{self._name} does not say which size it was made for; set height and width")


@dataclass(frozen=True, slots=True)
class _Request:
    prompt: str
    photograph: Image.Image | None
    seed: int


def picture_of(pixels: NDArray[Any]) -> tuple[Image.Image, tuple[str, ...]]:
    """Floats of shape (height, width, channels) in [0, 1] as 8 bit, and their flags; what is not finite becomes 0."""
    finite = np.isfinite(pixels)
    (picture,) = diffusers.DiffusionPipeline.numpy_to_pil(np.where(finite, pixels, 0))
    return picture, () if finite.all() else ("nan",)


def load_pipeline(path: Path, task: str, dtype: torch.dtype, without: Collection[str] = ()) -> Any:
    """The pipeline in a folder, on the CPU, every weight of it read from safetensors.

    diffusers and transformers only warn of weights that are missing and go on with random ones: here the first
    missing, unexpected or misshapen key is a UsageError. Components named in `without` are not read, and are None.
    """
    folder = read_pipeline_folder(path)
    pipeline_class = _pipeline_class(folder, task)
    kept_out: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False} if folder.guarded else {}
    kept_out |= dict.fromkeys(without)
    with quiet():
        models = _models(folder, dtype, without)
        try:
            pipeline = pipeline_class.from_pretrained(
                path, local_files_only=True, use_safetensors=True, dtype=dtype, **models, **kept_out
            )
        except BROKEN_CHECKPOINT as error:
            raise UsageError(f"{path}: {one_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def quiet() -> Iterator[None]:
    """Neither bars nor tables of keys while loading: what is wrong with a checkpoint is raised, in one line."""
    libraries = (diffusers_logging, transformers_logging)
    verbosities = [logging.get_verbosity() for logging in libraries]
    for logging in libraries:
        logging.disable_progress_bar()
        logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        for logging, verbosity in zip(libraries, verbosities, strict=True):
            logging.set_verbosity(verbosity)


def _pipeline_class(folder: PipelineFolder, task: str) -> type[Any]:
    name = folder.pipeline
    if task == "img2img" and "Img2Img" not in name:
        name = f"{name.removesuffix('Pipeline')}Img2ImgPipeline"
    found = getattr(diffusers, name, None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise UsageError(f"{folder.path}: task={task} needs {name}, and diffusers {diffusers.__version__} has none")
    return found


def _models(folder: PipelineFolder, dtype: torch.dtype, without: Collection[str]) -> dict[str, torch.nn.Module]:
    """The components that have weights, by name."""
    models = {}
    for name, (library, class_name) in folder.components.items():
        if name in without:
            continue
        model_class = _component_class(folder.path, name, library, class_name)
        if issubclass(model_class, torch.nn.Module):
            models[name] = load_model(model_class, folder.path / name, dtype)
    return models


def _component_class(path: Path, name: str, library: str, class_name: str) -> type[Any]:
    libraries = {"diffusers": diffusers, "transformers": transformers}
    module = libraries.get(library) or getattr(diffusers.pipelines, library, None)
    found = getattr(module, RENAMED.get(class_name, class_name), None)
    if not inspect.isclass(found):
        raise UsageError(f"{path}: component {name} is a {library}.{class_name}, which is in no installed library")
    return found


def load_model(model_class: type[Any], path: Path, dtype: torch.dtype, **options: str) -> torch.nn.Module:
    """A model of diffusers or transformers from its own folder, on the CPU; UsageError where a weight does not fit."""
    if not (path / "config.json").is_file():
        raise UsageError(f"{path}: config.json is missing")
    try:
        model, report = model_class.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except BROKEN_CHECKPOINT as error:
        raise UsageError(f"{path}: {one_line(error)}") from error
    _refuse_other_keys(path, report)
    loaded: torch.nn.Module = model
    _refuse_infinite(path, loaded)
    return loaded


def _refuse_other_keys(path: Path, report: Mapping[str, Any]) -> None:
    wrong = [
        f"{len(report[kind])} {kind.split('_')[0]} (first: {min(map(_key, report[kind]))})"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report[kind]
    ]
    if wrong:
        raise UsageError(f"{path}: weights of another architecture than config.json says: {', '.join(wrong)}")


def _refuse_infinite(path: Path, model: torch.nn.Module) -> None:
    """Weights of a training that went wrong, or that overflow the dtype, which would answer with black pictures."""
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise UsageError(f"{path}: {name} holds NaN or infinity in {weight.dtype}; take an earlier checkpoint")


def _key(entry: str | tuple[Any, ...]) -> str:
    return entry if isinstance(entry, str) else str(entry[0])


def cover(photograph: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled to cover (height, width) pixels, and its centre cut out."""
    height, width = size
    return ImageOps.fit(photograph, (width, height), Image.Resampling.LANCZOS)


def _by_turn(case: Case, outputs: Sequence[Output]) -> list[list[Output]]:
    rest = iter(outputs)
    return [[next(rest) for _ in turn.wants] for turn in case.turns]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value}: must be one of {', '.join(choices)}")


def _check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    if value != UNSET and not low <= value <= high:
        bounds = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
        raise UsageError(f"{name}={value}: must be {bounds}; leave it out for the pipeline's own default")
