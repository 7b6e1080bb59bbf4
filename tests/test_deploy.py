"""The cluster examples are what their readers take: Bash, and Kubernetes objects whose parts fit."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from speechtok.cli import main

DEPLOY = Path(__file__).parents[1] / "deploy"


def options_of(command):
    found = main.cli.get_command(click.Context(main.cli), command)
    return {name for item in found.params for name in item.opts}


def check_command(words):
    """Raise when a `speechtok tokenize` line uses an option that is not there."""
    assert words[:2] == ["speechtok", "tokenize"]
    unknown = {word for word in words if word.startswith("--")} - options_of("tokenize")
    assert not unknown


@pytest.fixture(scope="module")
def job():
    (found,) = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())
    return found


def pods(job):
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_kuberay_job_has_the_shape_of_a_ray_job(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    known = {
        "backoffLimit",
        "submissionMode",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "entrypoint",
    }
    assert set(spec) == known | {"rayClusterSpec"}
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {
        *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headGroupSpec", "workerGroupSpecs"),
    }
    assert cluster["authOptions"] == {"mode": "token"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["groupName"]


def test_kuberay_pods_fit_together(job):
    """Each mount has its volume, requests are limits, one image everywhere, and start parameters are strings."""
    images = set()
    for group in pods(job):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        spec = group["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            images.add(container["image"])
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["limits"] == container["resources"]["requests"]
    assert len(images) == 1


def test_kuberay_job_runs_a_command_that_is_there(job):
    words = job["spec"]["entrypoint"].split()
    check_command(words)
    gpus = float(words[words.index("--gpus-per-worker") + 1])
    cpus = float(words[words.index("--cpus-per-worker") + 1])
    workers = int(words[words.index("--workers") + 1])
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    per_node = min(float(limits["cpu"]) // cpus, float(limits["nvidia.com/gpu"]) // gpus)
    assert workers == per_node * group["maxReplicas"]


def test_ray_versions_agree(job):
    first = next(line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("FROM"))
    pinned = next(
        line
        for line in (DEPLOY.parent / "constraints.txt").read_text().splitlines()
        if line.startswith("ray==")
    )
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned.removeprefix("ray==")
    assert f"rayproject/ray:{pinned.removeprefix('ray==')}-" in first


def test_slurm_script():
    script = DEPLOY / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True, timeout=300)
    lint = shutil.which("shellcheck") or pytest.skip("shellcheck is not installed")
    subprocess.run([lint, script], check=True, timeout=300)
    text = script.read_text()
    command = text[text.index('speechtok tokenize "$corpus"') :].replace("\\\n", " ").split()
    check_command(command)
    assert "#SBATCH --signal=TERM@120" in text
    assert "ray stop" not in text


def test_slurm_script_wants_its_arguments():
    done = subprocess.run(
        ["bash", DEPLOY / "slurm.sbatch"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode != 0
    assert "usage: sbatch slurm.sbatch CORPUS OUT" in done.stderr


def test_every_example_is_listed():
    listed = (DEPLOY / "README.md").read_text()
    assert all(f"`{path.name}`" in listed for path in DEPLOY.iterdir() if path.name != "README.md")
