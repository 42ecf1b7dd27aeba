"""The tiny preset of the systems: what this repository ships or makes, so that everything runs on a laptop.

pipelines, sound_pipelines    randomly initialised pipelines, for `anybench init`
train                         `python -m systems.tiny.train PART --data DIR`: the parts that are trained in the drawn
                              world (docs/tinyworld.md), one module each
shipped/                      what that made: weights, and beside them recipe.json
"""
