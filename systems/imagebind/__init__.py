"""ImageBind-Huge, the encoder of CoDi-2: one space for pictures, videos, texts, sounds, depth, heat and motion.

Girdhar et al., "ImageBind: One Embedding Space To Bind Them All", CVPR 2023, arXiv 2305.05665. The code here is our
own. The official weights (imagebind_huge.pth) are for non-commercial use only: their LICENSE file and model card say
CC BY-NC-SA 4.0, their README says CC BY-NC 4.0.
"""
