"""The systems: what can be put under test, as data. Importing this room imports neither torch nor diffusers.

`SYSTEMS` says by name which class answers and what one copy of it needs; `CHECKPOINTS` names the functions that write
a tiny checkpoint, each called as function(folder: Path, seed: int).
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.nouns import Worker

SYSTEMS: Mapping[str, Worker] = {
    "oracle": Worker("systems.baselines:Oracle", gpus=0, sees_parts=True),
    "copy_input": Worker("systems.baselines:CopyInput", version=2, gpus=0),
    "files": Worker("systems.files:Files", gpus=0, checkpoint="required", in_driver=True, check="systems.files:check"),
    "noise": Worker("systems.baselines:Noise", version=2, gpus=0),
    "nearest_training": Worker("systems.nearest_training:NearestTraining", gpus=0, checkpoint="required"),
    "resampled_target": Worker("systems.baselines:ResampledTarget", gpus=0, sees_parts=True),
    "diffusers": Worker("systems.diffusers_pipeline:DiffusersPipeline", gpus=1, checkpoint="required"),
    "codi2": Worker(
        "systems.codi2.system:CoDi2", version=2, gpus=1, checkpoint="required", check="systems.codi2.checkpoint:check"
    ),
    "sdedit_audio": Worker("systems.sdedit_audio:SDEditAudio", gpus=1, checkpoint="required"),
    "sdedit": Worker("systems.editors:SDEdit", gpus=1, checkpoint="required"),
    "instruct_pix2pix": Worker("systems.editors:InstructPix2Pix", gpus=1, checkpoint="required"),
    "stable_diffusion": Worker("systems.editors:StableDiffusion", gpus=1, checkpoint="required"),
    "paste_caption": Worker("systems.paste_caption:PasteCaption", gpus=0),
}

CHECKPOINTS: Mapping[str, str] = {
    "stable-unclip-tiny": "systems.tiny.pipelines:stable_unclip",
    "stable-diffusion-tiny": "systems.tiny.pipelines:stable_diffusion",
    "instruct-pix2pix-tiny": "systems.tiny.pipelines:instruct_pix2pix",
    "codi2-tiny": "systems.codi2.tiny:codi2",
    "audioldm2-tiny": "systems.tiny.sound_pipelines:audioldm2",
}
