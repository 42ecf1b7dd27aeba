"""Benchmarks: what is asked, and what answers are compared with. One file a suite.

`SUITES` maps the name of a suite to "module:attribute" of its `harness.nouns.Suite`; nothing is imported until it is
asked for (`harness.names.load`). `embedded/` holds the small real data sets that the repository ships, each with its
attribution.
"""

from __future__ import annotations

from collections.abc import Mapping

SUITES: Mapping[str, str] = {
    "dreambench": "benchmarks.dreambench:DREAMBENCH",
    "dreambench-single": "benchmarks.dreambench:DREAMBENCH_SINGLE",
    "dreambench-mini": "benchmarks.dreambench:DREAMBENCH_MINI",
    "audioset-add": "benchmarks.audioset.suites:ADD",
    "audioset-drop": "benchmarks.audioset.suites:DROP",
    "audioset-replace": "benchmarks.audioset.suites:REPLACE",
    "audioset-editing": "benchmarks.audioset.suites:EDITING",
    "audioset-editing-paraphrased": "benchmarks.audioset.suites:PARAPHRASED",
    "audioset-editing-exemplar": "benchmarks.audioset.suites:EXEMPLAR",
    "audioset-editing-mini": "benchmarks.audioset.suites:MINI",
    "coco-editing": "benchmarks.coco_editing.suites:EDITING",
    "coco-editing-pfb": "benchmarks.coco_editing.suites:PFB",
    "coco-editing-mini": "benchmarks.coco_editing.suites:MINI",
    "tiny-dreambench": "benchmarks.tinyworld.suites:DREAMBENCH",
    "tiny-editing": "benchmarks.tinyworld.suites:EDITING",
    "tiny-audio": "benchmarks.tinyworld.suites:AUDIO",
    "tiny-incontext": "benchmarks.tinyworld.suites:INCONTEXT",
    "tiny-incontext-audio": "benchmarks.tinyworld.suites:INCONTEXT_AUDIO",
    "tiny-conversation": "benchmarks.tinyworld.suites:CONVERSATION",
    "tiny-conversation-audio": "benchmarks.tinyworld.suites:CONVERSATION_AUDIO",
}
