"""The files in jobs/cluster: what Ray and KubeRay document is what they hold, and their commands
are ours."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from hmdc_ray.config.io import apply_overrides
from hmdc_ray.config.presets import preset
from hmdc_ray.exchange.resources import given

CLUSTER = Path(__file__).resolve().parents[2] / "jobs" / "cluster"
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())

# KubeRay's API reference, ray.io/v1: the fields of each type, with the type of a field's value.
# A capital names a type of this table, or one of Kubernetes that is looked at elsewhere.
FIELDS: dict[str, dict[str, str]] = {
    "RayJob": {"apiVersion": "string", "kind": "string", "metadata": "ObjectMeta", "spec": "RayJobSpec"},
    "RayJobSpec": {
        "activeDeadlineSeconds": "integer",
        "backoffLimit": "integer",
        "rayClusterSpec": "RayClusterSpec",
        "submitterPodTemplate": "PodTemplateSpec",
        "metadata": "ObjectMeta",
        "clusterSelector": "strings",
        "submitterConfig": "SubmitterConfig",
        "managedBy": "string",
        "deletionStrategy": "DeletionStrategy",
        "entrypoint": "string",
        "runtimeEnvYAML": "string",
        "jobId": "string",
        "submissionMode": "string",
        "entrypointResources": "string",
        "entrypointNumCpus": "number",
        "entrypointNumGpus": "number",
        "ttlSecondsAfterFinished": "integer",
        "shutdownAfterJobFinishes": "boolean",
        "suspend": "boolean",
    },
    "RayClusterSpec": {
        "suspend": "boolean",
        "managedBy": "string",
        "autoscalerOptions": "AutoscalerOptions",
        "headServiceAnnotations": "strings",
        "enableInTreeAutoscaling": "boolean",
        "gcsFaultToleranceOptions": "GcsFaultToleranceOptions",
        "headGroupSpec": "HeadGroupSpec",
        "rayVersion": "string",
        "workerGroupSpecs": "WorkerGroupSpec[]",
    },
    "HeadGroupSpec": {
        "template": "PodTemplateSpec",
        "headService": "Service",
        "enableIngress": "boolean",
        "rayStartParams": "strings",
        "serviceType": "string",
    },
    "WorkerGroupSpec": {
        "suspend": "boolean",
        "groupName": "string",
        "replicas": "integer",
        "minReplicas": "integer",
        "maxReplicas": "integer",
        "idleTimeoutSeconds": "integer",
        "rayStartParams": "strings",
        "template": "PodTemplateSpec",
        "scaleStrategy": "ScaleStrategy",
        "numOfHosts": "integer",
    },
    # Of Kubernetes 1.28, as far as the manifest goes.
    "PodTemplateSpec": {"metadata": "ObjectMeta", "spec": "PodSpec"},
    "PodSpec": {"containers": "Container[]", "volumes": "Volume[]"},
    "Container": {
        "name": "string",
        "image": "string",
        "ports": "ContainerPort[]",
        "resources": "ResourceRequirements",
        "volumeMounts": "VolumeMount[]",
    },
    "ContainerPort": {"name": "string", "containerPort": "integer"},
    "ResourceRequirements": {"requests": "strings", "limits": "strings"},
    "VolumeMount": {"name": "string", "mountPath": "string"},
    "Volume": {"name": "string", "persistentVolumeClaim": "ClaimSource", "emptyDir": "EmptyDir"},
    "ClaimSource": {"claimName": "string"},
    "EmptyDir": {"medium": "string", "sizeLimit": "string"},
    "ObjectMeta": {"name": "string"},
}
PLAIN: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


def misfits(value: Any, kind: str, path: str) -> list[str]:
    """Where a value is not of a type of the table."""
    if kind.endswith("[]"):
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [found for index, entry in enumerate(value) for found in misfits(entry, kind[:-2], f"{path}.{index}")]
    if kind in PLAIN:
        right = isinstance(value, PLAIN[kind]) and (kind == "boolean") == isinstance(value, bool)
        return [] if right else [f"{path}: {value!r} is no {kind}"]
    if not isinstance(value, dict):
        return [f"{path}: not a mapping"]
    if kind == "strings":
        return [found for key, entry in value.items() for found in misfits(entry, "string", f"{path}.{key}")]
    known = FIELDS[kind]
    wrong = [f"{path}.{key}: unknown in {kind}" for key in value.keys() - known.keys()]
    return wrong + [found for key in value.keys() & known.keys() for found in misfits(value[key], known[key], f"{path}.{key}")]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text())}


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    return loaded


# KubeRay


def test_the_manifest_has_only_documented_fields(manifests: dict[str, Any]) -> None:
    job = manifests["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    assert misfits(job, "RayJob", "rayjob") == []


def test_a_wrong_field_would_be_found(manifests: dict[str, Any]) -> None:
    job = json.loads(json.dumps(manifests["RayJob"]))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0] |= {"replica": 1, "minReplicas": "2"}
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert sorted(misfits(job, "RayJob", "job")) == [
        "job.spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus: 0 is no string",
        "job.spec.rayClusterSpec.workerGroupSpecs.0.minReplicas: '2' is no integer",
        "job.spec.rayClusterSpec.workerGroupSpecs.0.replica: unknown in WorkerGroupSpec",
    ]


def test_every_pod_sees_the_shared_volume(manifests: dict[str, Any]) -> None:
    spec = manifests["RayJob"]["spec"]["rayClusterSpec"]
    claim = manifests["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (volume,) = (volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts[volume["name"]] == "/shared"
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}


def test_the_entrypoint_is_a_command_that_the_cluster_can_run(manifests: dict[str, Any]) -> None:
    words = shlex.split(manifests["RayJob"]["spec"]["entrypoint"])
    assert words[:2] == ["hmdc", "condense"]
    assignments = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    config = apply_overrides(preset(words[2]), assignments)
    assert words[words.index("--output") + 1].startswith("/shared/")
    workers = manifests["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    gpus = sum(
        group["minReplicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
        for group in workers
    )
    assert 0 < sum(given(config).gpus) <= gpus


# ray up


def test_the_cluster_file_fits_the_schema_of_ray(cluster: dict[str, Any]) -> None:
    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(cluster)] == []


def test_the_schema_is_in_force(cluster: dict[str, Any]) -> None:
    wrong = {**cluster, "max_worker": 2, "available_node_types": {"gpu": {"resources": {}}}}
    messages = " ".join(error.message for error in Draft7Validator(SCHEMA).iter_errors(wrong))
    assert "'max_worker' was unexpected" in messages and "'node_config' is a required property" in messages


def test_the_cluster_is_of_fixed_size_and_shares_a_folder(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    workers = {name: kind for name, kind in types.items() if name != cluster["head_node_type"]}
    assert sum(kind["max_workers"] for kind in workers.values()) == cluster["max_workers"]
    assert all(kind["min_workers"] == kind["max_workers"] for kind in workers.values())
    assert any("mount" in command and "/shared" in command for command in cluster["initialization_commands"])
    assert "-v /shared:/shared" in cluster["docker"]["run_options"]


# Versions


def test_every_file_names_the_pinned_ray_and_this_package(manifests: dict[str, Any], cluster: dict[str, Any]) -> None:
    root = CLUSTER.parents[1]
    (pinned,) = re.findall(r"^ray==(\S+)", (root / "constraints.txt").read_text(), re.MULTILINE)
    (package,) = re.findall(r'^version = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    docker = (CLUSTER / "Dockerfile").read_text()
    spec = manifests["RayJob"]["spec"]["rayClusterSpec"]
    assert f"FROM rayproject/ray:{pinned}-" in docker and spec["rayVersion"] == pinned
    images = [
        group["template"]["spec"]["containers"][0]["image"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    assert {*images, cluster["docker"]["image"]} == {f"REGISTRY/hmdc-ray:{package}"} and f"hmdc-ray:{package}" in docker
