"""The manifests of docs/cluster: fields that KubeRay knows, and an entrypoint that we do."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = sorted((ROOT / "docs" / "cluster").glob("*.yaml"))

# Names from the ray.io/v1 definition of RayJob (KubeRay 1.5); kubectl would refuse others. Pod
# templates are Kubernetes' own and only checked for what Ray needs of them.
RAYJOB = {
    "entrypoint": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "rayClusterSpec": {
        "rayVersion": str,
        "enableInTreeAutoscaling": bool,
        "autoscalerOptions": {"idleTimeoutSeconds": int},
        "headGroupSpec": {"rayStartParams": dict, "template": dict},
        "workerGroupSpecs": [
            {
                "groupName": str,
                "replicas": int,
                "minReplicas": int,
                "maxReplicas": int,
                "rayStartParams": dict,
                "template": dict,
            }
        ],
    },
}


def faults(value, schema, path="spec"):
    """Name every field that the schema has not, or has otherwise."""
    if isinstance(schema, type):
        return [] if type(value) is schema else [f"{path} is no {schema.__name__}"]
    if isinstance(schema, list):
        return [
            fault for i, one in enumerate(value) for fault in faults(one, schema[0], f"{path}.{i}")
        ]
    found = [f"{path}.{name} is unknown" for name in value.keys() - schema.keys()]
    for name in value.keys() & schema.keys():
        found += faults(value[name], schema[name], f"{path}.{name}")
    return found


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request):
    return yaml.safe_load(request.param.read_text())


def test_there_are_two():
    assert [path.stem for path in MANIFESTS] == ["rayjob-spot", "rayjob"]


def test_fields_are_those_of_a_rayjob(manifest):
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z0-9-]{1,47}", manifest["metadata"]["name"])
    assert faults(manifest["spec"], RAYJOB) == []
    # The check sees a misspelt field and a wrong type.
    assert faults({**manifest["spec"], "backofLimit": 1}, RAYJOB) == ["spec.backofLimit is unknown"]
    assert faults({**manifest["spec"], "backoffLimit": "1"}, RAYJOB)


def test_the_entrypoint_is_a_command_of_ours(manifest, monkeypatch):
    import typer
    from typer.main import get_command

    from pipelines.render import render

    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "pipelines.render"]
    app = typer.Typer()
    app.command()(render)
    context = get_command(app).make_context("render", words[3:])
    assert context.params["engine"] == "ray"
    assert context.params["out"].startswith("s3://")

    from pipelines.engine.jobs import RenderJob
    from pipelines.recipe import load

    assert load(RenderJob, context.params["recipe"], context.params["settings"]).count() >= 64


def test_shards_are_made_by_workers_and_versions_agree(manifest):
    cluster = manifest["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    image = (ROOT / "docs" / "cluster" / "Dockerfile").read_text()
    assert cluster["rayVersion"] == pinned
    assert f"FROM rayproject/ray:{pinned}-py311-cpu" in image
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_spot_workers_come_and_go_but_the_head_stays():
    spot = yaml.safe_load((ROOT / "docs" / "cluster" / "rayjob-spot.yaml").read_text())
    cluster = spot["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["template"]["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    head = cluster["headGroupSpec"]["template"]["spec"]["nodeSelector"]
    assert head == {"karpenter.sh/capacity-type": "on-demand"}
    assert "--workers" not in spot["spec"]["entrypoint"]  # would hold the autoscaler down
