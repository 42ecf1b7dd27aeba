"""The tiny preset of the metrics: extractors and a judge that this repository ships or makes.

checkpoints, inception    randomly initialised extractors, for `anybench init`
train                     `python -m metrics.tiny.train PART --data DIR`: those that are trained in the drawn world
                          (docs/tinyworld.md), one module each
shipped/                  what that made: weights, and beside them recipe.json
"""
