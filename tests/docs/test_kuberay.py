"""docs/kuberay-rayjob.yaml against the fields and types of RayJob v1, the operator's rules, and our command line."""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from pages import REPOSITORY

from runners import cli

MANIFEST = yaml.safe_load((REPOSITORY / "docs/kuberay-rayjob.yaml").read_text())
SCHEMA = yaml.safe_load((Path(__file__).parent / "rayjob.schema.yaml").read_text())
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def original() -> dict[str, Any]:
    """The schema of RayJob v1 in the operator's own definition; skips where RAYJOB_CRD names none."""
    file = os.environ.get("RAYJOB_CRD", "")
    if not file:
        pytest.skip("RAYJOB_CRD names no ray.io_rayjobs.yaml")
    versions = yaml.safe_load(Path(file).read_text())["spec"]["versions"]
    (found,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    return strict(found)


def strict(schema: Any) -> Any:
    """The schema with fields refused that it does not name: the API server drops these in silence."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(one) for name, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def group(manifest: dict[str, Any]) -> dict[str, Any]:
    (only,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return dict(only)


def entrypoint() -> list[str]:
    return shlex.split(MANIFEST["spec"]["entrypoint"])


def misspelt(manifest: dict[str, Any]) -> None:
    manifest["spec"]["entryPoint"] = manifest["spec"].pop("entrypoint")


def number_for_text(manifest: dict[str, Any]) -> None:
    manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def float_version(manifest: dict[str, Any]) -> None:
    manifest["spec"]["rayClusterSpec"]["rayVersion"] = 2.6


def without_limits_of_replicas(manifest: dict[str, Any]) -> None:
    del manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]


def memory_in_words(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    pod["containers"][0]["resources"]["limits"]["memory"] = "16 GB"


def unknown_mode(manifest: dict[str, Any]) -> None:
    manifest["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "on"


MISTAKES = (misspelt, number_for_text, float_version, without_limits_of_replicas, memory_in_words, unknown_mode)


def test_the_manifest_has_the_fields_and_types_of_a_rayjob() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(MANIFEST)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_manifest_with_a_mistake_is_refused(mistake: Change) -> None:
    wrong = copy.deepcopy(MANIFEST)
    mistake(wrong)
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(wrong)


def test_the_manifest_is_valid_under_the_operators_own_definition(original: dict[str, Any]) -> None:
    Draft202012Validator(original).validate(MANIFEST)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_what_our_schema_refuses_the_operators_own_definition_refuses_too(
    original: dict[str, Any], mistake: Change
) -> None:
    wrong = copy.deepcopy(MANIFEST)
    mistake(wrong)
    with pytest.raises(ValidationError):
        Draft202012Validator(original).validate(wrong)


def test_every_field_of_our_schema_is_one_of_the_operators_own_definition(original: dict[str, Any]) -> None:
    def compare(ours: dict[str, Any], theirs: dict[str, Any], place: str) -> None:
        ours = SCHEMA["$defs"][ours["$ref"].rpartition("/")[2]] if "$ref" in ours else ours
        assert ours.get("type", "string") == theirs["type"], place
        for name, one in ours.get("properties", {}).items():
            compare(one, theirs["properties"][name], f"{place}.{name}")
        if "items" in ours:
            compare(ours["items"], theirs["items"], f"{place}[]")

    compare(SCHEMA["properties"]["spec"], original["properties"]["spec"], "spec")


def test_the_operators_rules_beyond_its_schema_are_kept() -> None:
    """From the operator's validation.go: a token needs Ray 2.52, a time to live needs the shutdown."""
    spec = MANIFEST["spec"]
    version = tuple(map(int, spec["rayClusterSpec"]["rayVersion"].split(".")))
    assert spec["rayClusterSpec"]["authOptions"]["mode"] == "token" and version >= (2, 52, 0)
    assert spec["shutdownAfterJobFinishes"] or not spec["ttlSecondsAfterFinished"]
    workers = group(MANIFEST)
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]


def test_the_cluster_runs_the_ray_that_is_pinned() -> None:
    pinned = f"ray[default,data]=={MANIFEST['spec']['rayClusterSpec']['rayVersion']}"
    assert pinned in (REPOSITORY / "requirements.in").read_text().splitlines()


def test_the_entrypoint_is_a_line_that_our_command_takes_and_its_paths_are_on_the_volume() -> None:
    python, script, *words = entrypoint()
    assert python == "python" and (REPOSITORY / Path(script).relative_to("/opt/anybench")).is_file()
    parser, _ = cli._parser()
    asked = parser.parse_args(["run", *words])
    for pod in (MANIFEST["spec"]["rayClusterSpec"]["headGroupSpec"], group(MANIFEST)):
        (container,) = pod["template"]["spec"]["containers"]
        (mount,) = container["volumeMounts"]
        assert Path(asked.store).is_relative_to(mount["mountPath"])
        assert Path(asked.data).is_relative_to(mount["mountPath"])
        assert [volume["name"] for volume in pod["template"]["spec"]["volumes"]] == [mount["name"]]
