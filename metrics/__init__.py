"""Metrics: pure functions of features, and the extractors that make features out of media.

To add a metric: one file that holds a `harness.nouns.Metric`, and one line in METRICS. To add an extractor: one file
with a class built as Class(weights, device), and one entry in EXTRACTORS. The tables are plain data: importing this
room imports no network, no torch, not even the metrics. `checkpoint.py` and `pixels.py` among the extractors are
what the networks share.

A name is a promise: the name of an extractor names its weights and preprocessing, and a number that changes gets a
new version or a new name. The `-tiny` twins are the same code at a small size. Those whose weights are shipped learned
in the drawn world (docs/tinyworld.md) and mean something there alone; those of the others, or of weights that
`anybench init` made, are random, and their numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.nouns import ExtractorCard, Worker

METRICS: Mapping[str, str] = {
    "dino": "metrics.cosine:DINO",
    "dino_self_macro": "metrics.cosine:DINO_SELF_MACRO",
    "dino_distinct_micro": "metrics.cosine:DINO_DISTINCT_MICRO",
    "dino_self_micro": "metrics.cosine:DINO_SELF_MICRO",
    "clip_i": "metrics.cosine:CLIP_I",
    "clip_i_self_macro": "metrics.cosine:CLIP_I_SELF_MACRO",
    "clip_i_distinct_micro": "metrics.cosine:CLIP_I_DISTINCT_MICRO",
    "clip_i_self_micro": "metrics.cosine:CLIP_I_SELF_MICRO",
    "clip_t": "metrics.cosine:CLIP_T",
    "color_hist": "metrics.color:COLOR_HIST",
    "clap": "metrics.clap:CLAP",
    "clap_event_delta": "metrics.clap:CLAP_EVENT_DELTA",
    "clap_removed_delta": "metrics.clap:CLAP_REMOVED_DELTA",
    "kl": "metrics.divergence:KL",
    "kl_reverse": "metrics.divergence:KL_REVERSE",
    "kl_sigmoid": "metrics.divergence:KL_SIGMOID",
    "kl_sigmoid_reverse": "metrics.divergence:KL_SIGMOID_REVERSE",
    "kl_32k": "metrics.divergence:KL_32K",
    "fd": "metrics.frechet:FD",
    "fd_32k": "metrics.frechet:FD_32K",
    "fd_floor": "metrics.frechet:FD_FLOOR",
    "fd_floor_32k": "metrics.frechet:FD_FLOOR_32K",
    "audio_is": "metrics.inception:AUDIO_IS",
    "audio_is_32k": "metrics.inception:AUDIO_IS_32K",
    "lsd": "metrics.spectral:LSD",
    "lsd_parity": "metrics.spectral:LSD_PARITY",
    "lsd_clean": "metrics.spectral:LSD_CLEAN",
    "length_difference": "metrics.spectral:LENGTH_DIFFERENCE",
    "si_sdr": "metrics.waveform:SI_SDR",
    "event_si_sdr": "metrics.waveform:EVENT_SI_SDR",
    "removed_residual": "metrics.waveform:REMOVED_RESIDUAL",
    "fid": "metrics.fid:FID",
    "fid_clean": "metrics.fid:FID_CLEAN",
    "fid_infinity": "metrics.fid:FID_INFINITY",
    "clip_fid": "metrics.fid:CLIP_FID",
    "inception_score": "metrics.fid:INCEPTION_SCORE",
    "kid": "metrics.kernel_distance:KID",
    "cmmd": "metrics.kernel_distance:CMMD",
    "clip_dir": "metrics.directional:CLIP_DIR",
    "clip_out": "metrics.directional:CLIP_OUT",
    "clip_instr": "metrics.directional:CLIP_INSTR",
    "clip_img": "metrics.directional:CLIP_IMG",
    "clipsim": "metrics.directional:CLIPSIM",
    "clip_dir_l14": "metrics.directional:CLIP_DIR_L14",
    "clip_out_l14": "metrics.directional:CLIP_OUT_L14",
    "clip_instr_l14": "metrics.directional:CLIP_INSTR_L14",
    "clip_img_l14": "metrics.directional:CLIP_IMG_L14",
    "dino_source": "metrics.directional:DINO_SOURCE",
    "prompt_cut": "metrics.directional:PROMPT_CUT",
    "source_caption_cut": "metrics.directional:SOURCE_CAPTION_CUT",
    "instruction_cut": "metrics.directional:INSTRUCTION_CUT",
    "l1": "metrics.pixel_distance:L1",
    "l2": "metrics.pixel_distance:L2",
    "ssim": "metrics.pixel_distance:SSIM",
    "psnr": "metrics.pixel_distance:PSNR",
    "lpips": "metrics.pixel_distance:LPIPS",
    "l1_target": "metrics.pixel_distance:L1_TARGET",
    "ssim_target": "metrics.pixel_distance:SSIM_TARGET",
    "l1_inside": "metrics.pixel_distance:L1_INSIDE",
    "l2_inside": "metrics.pixel_distance:L2_INSIDE",
    "ssim_inside": "metrics.pixel_distance:SSIM_INSIDE",
    "psnr_inside": "metrics.pixel_distance:PSNR_INSIDE",
    "lpips_inside": "metrics.pixel_distance:LPIPS_INSIDE",
    "l1_outside": "metrics.pixel_distance:L1_OUTSIDE",
    "l2_outside": "metrics.pixel_distance:L2_OUTSIDE",
    "ssim_outside": "metrics.pixel_distance:SSIM_OUTSIDE",
    "psnr_outside": "metrics.pixel_distance:PSNR_OUTSIDE",
    "lpips_outside": "metrics.pixel_distance:LPIPS_OUTSIDE",
    "instruction_followed": "metrics.judging:INSTRUCTION_FOLLOWED",
    "subject_kept": "metrics.judging:SUBJECT_KEPT",
    "rest_kept": "metrics.judging:REST_KEPT",
    "followed_and_kept": "metrics.judging:FOLLOWED_AND_KEPT",
    "events_followed": "metrics.judging:EVENTS_FOLLOWED",
    "events_kept": "metrics.judging:EVENTS_KEPT",
    "events_exact": "metrics.judging:EVENTS_EXACT",
    "dino-tiny": "metrics.cosine:DINO_TINY",
    "clip_i-tiny": "metrics.cosine:CLIP_I_TINY",
    "clip_t-tiny": "metrics.cosine:CLIP_T_TINY",
    "clap-tiny": "metrics.clap:CLAP_TINY",
    "clap_event_delta-tiny": "metrics.clap:CLAP_EVENT_DELTA_TINY",
    "clap_removed_delta-tiny": "metrics.clap:CLAP_REMOVED_DELTA_TINY",
    "kl-tiny": "metrics.divergence:KL_TINY",
    "kl_reverse-tiny": "metrics.divergence:KL_REVERSE_TINY",
    "kl_sigmoid-tiny": "metrics.divergence:KL_SIGMOID_TINY",
    "kl_sigmoid_reverse-tiny": "metrics.divergence:KL_SIGMOID_REVERSE_TINY",
    "fd-tiny": "metrics.frechet:FD_TINY",
    "fd_floor-tiny": "metrics.frechet:FD_FLOOR_TINY",
    "audio_is-tiny": "metrics.inception:AUDIO_IS_TINY",
    "clip_dir-tiny": "metrics.directional:CLIP_DIR_TINY",
    "clip_out-tiny": "metrics.directional:CLIP_OUT_TINY",
    "clip_instr-tiny": "metrics.directional:CLIP_INSTR_TINY",
    "clip_img-tiny": "metrics.directional:CLIP_IMG_TINY",
    "clipsim-tiny": "metrics.directional:CLIPSIM_TINY",
    "dino_source-tiny": "metrics.directional:DINO_SOURCE_TINY",
    "lpips-tiny": "metrics.pixel_distance:LPIPS_TINY",
    "lpips_inside-tiny": "metrics.pixel_distance:LPIPS_INSIDE_TINY",
    "lpips_outside-tiny": "metrics.pixel_distance:LPIPS_OUTSIDE_TINY",
    "fid-tiny": "metrics.fid:FID_TINY",
    "fid_infinity-tiny": "metrics.fid:FID_INFINITY_TINY",
    "clip_fid-tiny": "metrics.fid:CLIP_FID_TINY",
    "inception_score-tiny": "metrics.fid:INCEPTION_SCORE_TINY",
    "kid-tiny": "metrics.kernel_distance:KID_TINY",
    "cmmd-tiny": "metrics.kernel_distance:CMMD_TINY",
}

EXTRACTORS: Mapping[str, ExtractorCard] = {
    # The digest of neither the hub's file nor the official dino_deitsmall16_pretrain.pth is known here, so that DINO's
    # numbers are marked until they have been checked against the published real-image row and the digest is added.
    "dino-vits16": ExtractorCard(
        Worker("metrics.extractors.dino:DINO", batch=32),
        preprocessing="256bicubic-crop224",
        hub="facebook/dino-vits16@abe3b354cb6a9b6f146096b14a4a9d7eecbcb4bd",
    ),
    # Digests: the official ViT-B-32.pt (it is in the file's own URL), and the hub's pytorch_model.bin.
    "clip-vit-b32": ExtractorCard(
        Worker("metrics.extractors.clip:CLIP", batch=32),
        preprocessing="224bicubic-crop224-text77",
        hub="openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        digests=(
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        ),
    ),
    # Digests: the official ViT-L-14.pt (it is in the file's own URL), and the hub's pytorch_model.bin at this revision
    # (in the pins of several public repositories).
    "clip-vit-l14": ExtractorCard(
        Worker("metrics.extractors.clip:CLIPL14", batch=16),
        preprocessing="224bicubic-crop224-text77",
        hub="openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
        digests=(
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            "f1a17cdbe0f36fec524f5cafb1c261ea3bbbc13e346e0f74fc9eb0460dedd0d3",
        ),
    ),
    "clip-tokens": ExtractorCard(
        Worker("metrics.extractors.clip_tokens:CLIPTokens", gpus=0.0, batch=256),
        preprocessing="clip-bpe",
        weightless=True,
    ),
    "pixel-distance": ExtractorCard(
        Worker("metrics.extractors.pixel_distance:PixelDistance", gpus=0.0, batch=16),
        preprocessing="source-size-bicubic-rgb",
        dtype="fp64",
        weightless=True,
    ),
    "pixel-distance-masked": ExtractorCard(
        Worker("metrics.extractors.pixel_distance:PixelDistance", gpus=0.0, batch=16),
        preprocessing="source-size-bicubic-rgb-mask128",
        dtype="fp64",
        weightless=True,
    ),
    # Digest: torchvision's alexnet-owt-7be5be79.pth; that of alex.pth beside it is checked by the extractor.
    "lpips-alex": ExtractorCard(
        Worker("metrics.extractors.lpips:LPIPS", batch=8),
        preprocessing="source-size-bicubic-rgb-mask128",
        digests=("7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",),
    ),
    "color-hist": ExtractorCard(
        Worker("metrics.extractors.color:ColorHistogram", gpus=0.0, batch=32),
        preprocessing="rgb-8x8x8",
        weightless=True,
    ),
    "log-spectral": ExtractorCard(
        Worker("metrics.extractors.log_spectral:LogSpectral", gpus=0.0, batch=32),
        preprocessing="16k-mono-stft743-hop160",
        dtype="fp64",
        weightless=True,
    ),
    "si-sdr": ExtractorCard(
        Worker("metrics.extractors.waveform:SISDR", gpus=0.0, batch=32),
        preprocessing="16k-mono-mean0",
        dtype="fp64",
        weightless=True,
    ),
    "event-traces": ExtractorCard(
        Worker("metrics.extractors.waveform:EventTraces", gpus=0.0, batch=32),
        preprocessing="16k-mono-minus-base",
        dtype="fp64",
        weightless=True,
    ),
    "sound-length": ExtractorCard(
        Worker("metrics.extractors.waveform:SoundLength", gpus=0.0, batch=32),
        preprocessing="16k-mono",
        weightless=True,
    ),
    # Digests: the official Cnn14_16k_mAP=0.438.pth and Cnn14_mAP=0.431.pth (Zenodo 3987831).
    "cnn14-16k": ExtractorCard(
        Worker("metrics.extractors.cnn14:Cnn14", batch=8),
        preprocessing="16khz-mean0-min2s",
        digests=("e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6",),
    ),
    "cnn14-32k": ExtractorCard(
        Worker("metrics.extractors.cnn14:Cnn14At32k", batch=8),
        preprocessing="32khz-mean0-min2s",
        digests=("0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",),
    ),
    # Digest: the hub's pytorch_model.bin at this revision (in the pins of several public repositories). That of the
    # official 630k-audioset-best.pt is not known here.
    "clap-htsat-unfused": ExtractorCard(
        Worker("metrics.extractors.clap:CLAP", batch=16),
        preprocessing="48khz-int16-first10s-repeatpad-text77",
        hub="laion/clap-htsat-unfused@8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
        digests=("1cd3c601bc4afe0fa87be3de4c13dd2cfadd249fac1e29acf74a9b296c3219bb",),
    ),
    # Digest: pt_inception-2015-12-05-6726825d.pth of pytorch-fid, which is torch-fidelity's file too (in the pins of
    # several public repositories; the file's name has its first eight digits).
    "inception-v3-fid": ExtractorCard(
        Worker("metrics.extractors.inception_v3:InceptionV3", batch=16),
        preprocessing="299tf1bilinear",
        digests=("6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",),
    ),
    # Digests: the official ViT-L-14-336px.pt (it is in the file's own URL), and the hub's pytorch_model.bin (in the
    # pins of several public repositories).
    "clip-vit-l14-336": ExtractorCard(
        Worker("metrics.extractors.clip:CLIPL14At336", batch=16),
        preprocessing="336bicubic-crop336-text77",
        hub="openai/clip-vit-large-patch14-336@ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        digests=(
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
            "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
        ),
    ),
    "inception-v3-cleanfid": ExtractorCard(
        Worker("metrics.extractors.inception_v3:InceptionV3Clean", batch=16),
        preprocessing="299bicubic-unrounded",
        digests=("6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",),
    ),
    "dino-tiny": ExtractorCard(
        Worker("metrics.extractors.dino:DINOTiny", version=2, gpus=0.0, batch=32),
        preprocessing="256bicubic-crop224",
        shipped="metrics/tiny/shipped/dino",
        digests=("5d617df849793571b02a20d5186f63c69e627809c242367008ea11c15a068ba1",),
    ),
    "clip-tiny": ExtractorCard(
        Worker("metrics.extractors.clip:CLIPTiny", version=2, gpus=0.0, batch=32),
        preprocessing="224bicubic-crop224-text77",
        shipped="metrics/tiny/shipped/clip",
        digests=("ab92595ec7a4d3b1d3523ae76421d29cedf6911de44d4e4b9f9be9ca567cca19",),
    ),
    "lpips-tiny": ExtractorCard(
        Worker("metrics.extractors.lpips:LPIPSTiny", gpus=0.0, batch=8),
        preprocessing="source-size-bicubic-rgb-mask128",
    ),
    "clap-tiny": ExtractorCard(
        Worker("metrics.extractors.clap:CLAPTiny", version=2, gpus=0.0, batch=16),
        preprocessing="48khz-int16-first10s-repeatpad-text77",
        shipped="metrics/tiny/shipped/clap",
        digests=("263738830a719aef63d149bfeffee9eaccb331b79caad16eef0e4571865f2ce8",),
    ),
    "cnn14-tiny": ExtractorCard(
        Worker("metrics.extractors.cnn14:Cnn14Tiny", version=2, gpus=0.0, batch=8),
        preprocessing="16khz-mean0-min2s",
        shipped="metrics/tiny/shipped/cnn14",
        digests=("a91bc68002ad5eb91d501884a956e7c5cfba9c2f5309cce356c0250d2621e2ed",),
    ),
    "judge-tiny": ExtractorCard(
        Worker("metrics.extractors.judge:JudgeTiny", gpus=0.0, batch=64),
        preprocessing="64bicubic",
        shipped="metrics/tiny/shipped/judge",
        digests=("f33305715dc351f777ac3c92e685c0e0aadf65db08eda9a214633f88b268d328",),
    ),
    "sound-judge-tiny": ExtractorCard(
        Worker("metrics.extractors.sound_judge:SoundJudgeTiny", gpus=0.0, batch=64),
        preprocessing="16k-mono-first2s",
        shipped="metrics/tiny/shipped/sound-judge",
        digests=("c6dc2358ddd8d604aa8b5372ecf7826c4dd81847d66f8a8003f6e127101ddc9f",),
    ),
    "truth-words": ExtractorCard(
        Worker("metrics.extractors.truth_words:TruthWords", gpus=0.0, batch=256),
        preprocessing="words",
        weightless=True,
    ),
    "inception-tiny": ExtractorCard(
        Worker("metrics.extractors.inception_v3:InceptionV3Tiny", gpus=0.0, batch=16),
        preprocessing="299tf1bilinear",
    ),
}

# Writers of random checkpoints for `anybench init`: function(folder: Path, seed: int).
CHECKPOINTS: Mapping[str, str] = {
    "dino-vits16": "metrics.tiny.checkpoints:write_dino",
    "clip-vit-b32": "metrics.tiny.checkpoints:write_clip",
    "clip-vit-l14": "metrics.tiny.checkpoints:write_clip_l14",
    "clip-vit-l14-336": "metrics.tiny.checkpoints:write_clip_l14_336",
    "dino-tiny": "metrics.tiny.checkpoints:write_dino_tiny",
    "clip-tiny": "metrics.tiny.checkpoints:write_clip_tiny",
    "lpips-alex": "metrics.tiny.checkpoints:write_lpips",
    "lpips-tiny": "metrics.tiny.checkpoints:write_lpips_tiny",
    "clap-htsat-unfused": "metrics.tiny.checkpoints:write_clap",
    "clap-tiny": "metrics.tiny.checkpoints:write_clap_tiny",
    "cnn14-16k": "metrics.tiny.checkpoints:write_cnn14",
    "cnn14-32k": "metrics.tiny.checkpoints:write_cnn14_32k",
    "cnn14-tiny": "metrics.tiny.checkpoints:write_cnn14_tiny",
    "inception-v3-fid": "metrics.tiny.inception:write_inception",
    "inception-v3-cleanfid": "metrics.tiny.inception:write_inception",
    "inception-tiny": "metrics.tiny.inception:write_inception_tiny",
}
