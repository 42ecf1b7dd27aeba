"""CoDi-2 (Tang et al., arXiv 2311.18775, CVPR 2024): text, pictures, sounds and videos in, any of them out.

ImageBind sees the media, Llama 2 with LoRA reads them among the words and predicts a feature where its answer opens a
tag, and a diffusion model of that modality draws the feature. Cases -> pieces (`prompts`) -> vectors (`encoding`) ->
answers (`language`) -> media (`image_decoder`, `sound_decoder`, `video_decoder`), all of it in `model`; `system` is the
adapter, `checkpoint` and `description` the folder that a checkpoint is. Where the paper, the released code and good
sense disagree, docs/codi2.md has the 20 points and which reading is ours.
"""
