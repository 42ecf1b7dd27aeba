"""CoDi-2 (Tang et al., arXiv 2311.18775, CVPR 2024): interleaved text, pictures and sounds in; text and pictures out.

ImageBind sees the media, Llama 2 with LoRA reads them among the words and predicts a feature where its answer opens a
tag, and Stable unCLIP draws that feature. Cases -> pieces (`prompts`) -> vectors (`encoding`) -> answers (`language`) ->
pictures (`image_decoder`); `system` is the adapter, `checkpoint` and `description` the folder that a checkpoint is.
Where the paper, the released code and good sense disagree, docs/codi2.md has the 20 points and which reading is ours.
"""
