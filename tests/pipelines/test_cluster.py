"""The manifests of docs/cluster: fields that KubeRay knows, and an entrypoint that we do."""

import re
import shlex
from itertools import pairwise
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


def test_there_are_three():
    assert [path.stem for path in MANIFESTS] == ["rayjob-spot", "rayjob", "trainjob"]


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

    from pipelines.engine.jobs import RenderJob
    from pipelines.recipe import load
    from pipelines.render import render
    from pipelines.train import train
    from vae import TrainSettings

    verb, settings = (
        (train, TrainSettings) if manifest["metadata"]["name"] == "train" else (render, RenderJob)
    )
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", f"pipelines.{verb.__name__}"]
    app = typer.Typer()
    app.command()(verb)
    params = get_command(app).make_context(verb.__name__, words[3:]).params
    assert params["engine"] == "ray"
    assert str(params["out"]).startswith("s3://")
    recipe = load(settings, params["recipe"], params["settings"])
    if verb is render:
        assert recipe.count() >= 64


def test_shards_are_made_by_workers_and_versions_agree(manifest):
    cluster = manifest["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    image = (ROOT / "docs" / "cluster" / "Dockerfile").read_text()
    assert cluster["rayVersion"] == pinned
    assert f"FROM rayproject/ray:{pinned}-py311-cpu" in image
    assert f"{pinned}-py311-gpu" in image
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


def test_each_machine_of_the_training_job_holds_a_rank():
    from pipelines.options import places_by_name
    from pipelines.recipe import load
    from pipelines.train import numbers
    from pipelines.train_ray import bundle, worlds
    from pipelines.training import Training
    from vae import TrainSettings
    from vae.curriculum.stage import check_streams

    job = yaml.safe_load((ROOT / "docs" / "cluster" / "trainjob.yaml").read_text())["spec"]
    words = shlex.split(job["entrypoint"])
    given = dict(pairwise(words[3:]))
    pairs = [value for option, value in pairwise(words) if option == "--stream"]
    streams = places_by_name(pairs, "--stream")
    training = Training(
        load(TrainSettings, words[3], [given["--set"]]),
        streams,
        given["--out"],
        loaders=int(given["--loaders"]),
        device=given["--device"],
    )
    check_streams(training.settings.stages, streams)
    least, largest = numbers(given["--ranks"], "ray")
    assert worlds(training, least, largest)[0] == largest
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (least, largest)
    (container,) = group["template"]["spec"]["containers"]
    offered, wanted = container["resources"]["limits"], bundle(training)
    assert float(offered["cpu"]) >= wanted["CPU"]
    assert float(offered["nvidia.com/gpu"]) == wanted["GPU"]
