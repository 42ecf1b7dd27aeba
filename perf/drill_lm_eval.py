"""lm-eval as a contender of drills.py, run by an interpreter that has it: CHECKPOINT JOURNAL FOLDER."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

checkpoint, journal, folder = sys.argv[1:]
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=f"{folder}/hf")

from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.api.model import LM  # noqa: E402
from lm_eval.api.registry import register_model  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

CASES = 300
TASK = """
task: drill
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "right"
generation_kwargs: {{until: ["\\n"]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""


@register_model("drilled")
class Drilled(LM):
    """Answers as its checkpoint says, after writing down which case it was asked."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.answer = Path(checkpoint).read_text()

    @classmethod
    def create_from_arg_obj(cls, arg_dict, additional_config=None):  # type: ignore[no-untyped-def]
        return cls(arg_dict["checkpoint"])

    @classmethod
    def create_from_arg_string(cls, arg_string, additional_config=None):  # type: ignore[no-untyped-def]
        return cls(arg_string.partition("=")[2])

    def generate_until(self, requests, disable_tqdm=False):  # type: ignore[no-untyped-def]
        answers = []
        for request in requests:
            with open(journal, "a") as file:
                file.write(f"{int(request.args[0].rstrip('.').split()[-1])}\n")
            time.sleep(0.01)
            answers.append(self.answer)
            self.cache_hook.add_partial("generate_until", request.args, self.answer)
        return answers

    def loglikelihood(self, requests, disable_tqdm=False):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):  # type: ignore[no-untyped-def]
        raise NotImplementedError


place = Path(folder)
place.mkdir(parents=True, exist_ok=True)
prompts = [{"prompt": f"Say right, case {number}."} for number in range(CASES)]
(place / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in prompts))
(place / "drill.yaml").write_text(TASK.format(data=place / "prompts.jsonl"))
results = simple_evaluate(
    model="drilled",
    model_args={"checkpoint": checkpoint},
    tasks=["drill"],
    task_manager=TaskManager(include_path=str(place), include_defaults=False),
    use_cache=str(place / "cache"),
    bootstrap_iters=0,
)
print(json.dumps({"score": results["results"]["drill"]["exact_match,none"]}))
