"""Starting a run on a cluster: what is asked of it, with stand-ins for its programs."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from jax._src.clusters import cloud_tpu_cluster

import gke_jobset
from lvm_jax.distributed.distributed_config import DistributedConfig, find_place

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "tools" / "launch"
TRAIN = ["--config=experiments/lvm.py:size=3b", "--workdir=gs://b/run", "--config.a=b c"]


def launch(program, *arguments, path="", **variables):
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **variables}
    command = ["bash", str(LAUNCH / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def write_program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    "program", ["tpu_pod.sh", "slurm.sbatch", "xpk.sh", "../measure_device.sh"]
)
def test_programs_explain_themselves(program):
    done = launch(program, "--help")
    where = LAUNCH / program
    assert done.returncode == 0 and str(where.resolve().relative_to(ROOT)) in done.stdout
    assert "set -" not in done.stdout and "case" not in done.stdout


@pytest.mark.parametrize(
    "program, arguments, message",
    [
        ("tpu_pod.sh", ["train", "pod", "--zone=z"], "flags of train.py are missing"),
        ("tpu_pod.sh", ["train", "pod", "--", "--config=x"], "--zone=ZONE is missing"),
        ("tpu_pod.sh", ["create", "pod", "--zone=z"], "--type=TYPE is missing"),
        ("tpu_pod.sh", ["create", "pod", "--zone=z", "--type=v9-8"], "--runtime=NAME is missing"),
        ("tpu_pod.sh", ["fly", "pod", "--zone=z"], "unknown action 'fly'"),
        ("tpu_pod.sh", ["create", "--zone=z"], "'--zone=z' must be a name"),
        ("tpu_pod.sh", ["stop", "pod", "--zone=z", "--config=x"], "unknown argument '--config=x'"),
        ("xpk.sh", ["run", "--cluster=c", "--type=t"], "--image=... is missing"),
        ("slurm.sbatch", ["--config=x"], "this is not a job"),
        ("../measure_device.sh", ["--size=huge"], "unknown argument '--size=huge'"),
        ("../measure_device.sh", [], "name a folder for the results"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(program, arguments, message):
    done = launch(program, *arguments, SLURM_JOB_ID="")
    assert done.returncode == 2 and message in done.stderr


def test_all_workers_of_all_slices_start_the_same_training(tmp_path):
    # A worker's shell reads the command: what gcloud is given must survive it.
    write_program(
        tmp_path,
        "gcloud",
        f"""echo "$5 $7" >> {tmp_path}/calls
mkdir -p {tmp_path}/$5/lvm_jax/.venv/bin && cd {tmp_path}/$5
printf '#!/bin/bash\\nprintf "%%s\\\\n" "$@"\\nexit 7' > lvm_jax/.venv/bin/python
chmod +x lvm_jax/.venv/bin/python
for last in "$@"; do :; done
bash -c "${{last#--command=}}"
while [ ! -s train.exit ]; do sleep 0.05; done""",
    )
    write_program(tmp_path, "pgrep", "exit 1")
    flags = ["train", "pod", "--zone=z", "--slices=2", "--", *TRAIN]
    done = launch("tpu_pod.sh", *flags, path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    called = sorted((tmp_path / "calls").read_text().split("\n")[:-1])
    assert called == ["pod-0 --worker=all", "pod-1 --worker=all"]
    for node in ("pod-0", "pod-1"):
        words = (tmp_path / node / "train.log").read_text().splitlines()
        assert words == ["tools/train.py", *TRAIN, "--config.distributed.mode=auto"]
        assert (tmp_path / node / "train.exit").read_text() == "7\n"


def test_a_slice_that_was_taken_away_is_made_again(tmp_path):
    write_program(
        tmp_path,
        "gcloud",
        f"""echo "$4 $5 ${{*: -1}}" >> {tmp_path}/calls
case "$*" in
  *describe*) n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) > {tmp_path}/n
    set -- ACTIVE SUSPENDED ACTIVE ACTIVE; shift "$n"; echo "$1" ;;
  *train.exit*"||"*none*) n=$(cat {tmp_path}/n)
    set -- 143 - none 0; shift "$((n - 1))"; echo "$1" ;;
esac""",
    )
    flags = ["keep", "pod", "--zone=z", "--type=v5p-8", "--spot", "--every=0", "--source=s"]
    done = launch("tpu_pod.sh", *flags, "--", *TRAIN, path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    done_in_order = [
        word
        for line in calls.splitlines()
        for word in ("delete", "create", "git clone", "train.py")
        if word in line and "train.exit 2>" not in line
    ]
    assert done_in_order.count("delete") == 1
    deleted = done_in_order.index("delete")
    assert done_in_order[deleted : deleted + 2] == ["delete", "create"]
    assert "the training has ended" in done.stdout


def test_xpk_gets_the_training_as_one_word(tmp_path):
    write_program(tmp_path, "xpk", 'printf "%s\\n" "$@"')
    flags = ["run", "--cluster=c", "--type=v5litepod-16", "--image=i", "--slices=2", "--", *TRAIN]
    words = launch("xpk.sh", *flags, path=str(tmp_path)).stdout.splitlines()
    assert words[:2] == ["workload", "create"] and "--num-slices=2" in words
    (command,) = (word for word in words if word.startswith("--command="))
    read = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" {command.removeprefix("--command=")}'],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert read == ["python", "tools/train.py", *TRAIN, "--config.distributed.mode=auto"]


@pytest.mark.parametrize("code, requeued", [(0, False), (1, False), (143, True)])
def test_a_slurm_job_goes_on_when_it_was_told_to_stop(tmp_path, code, requeued):
    write_program(tmp_path, "srun", f'printf "%s\\n" "$@"\nexit {code}')
    write_program(tmp_path, "scontrol", 'echo "scontrol $*"')
    environment = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(ROOT), "PYTHON": sys.executable}
    done = launch("slurm.sbatch", *TRAIN, path=str(tmp_path), **environment)
    assert done.returncode == code
    words = done.stdout.splitlines()
    assert words[1:6] == [
        *(sys.executable, "tools/train.py"),
        *TRAIN,
    ]
    assert ("scontrol requeue 17" in words) == requeued


def test_a_slurm_job_waits_for_the_save(tmp_path):
    write_program(tmp_path, "srun", "kill -TERM $PPID\nsleep 0.3\necho saved\nexit 143")
    write_program(tmp_path, "scontrol", 'echo "scontrol $*"')
    environment = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(ROOT)}
    done = launch("slurm.sbatch", *TRAIN, path=str(tmp_path), **environment)
    assert done.returncode == 143
    assert done.stdout.index("saved") < done.stdout.index("scontrol requeue 17")


def options(**changes):
    values = {"name": "run", "topology": "v5e:16x16", "image": "i", "train": "--config='a b' --c=d"}
    return gke_jobset.Options(**{**values, **changes})


def test_a_jobset_has_a_pod_for_each_host():
    written = yaml.safe_load(yaml.safe_dump(gke_jobset.jobset(options(slices=2, spot=True))))
    (slices,) = written["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert (slices["replicas"], job["parallelism"], job["completions"]) == (2, 64, 64)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "16x16"
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    (container,) = pod["containers"]
    assert container["command"][1:] == [
        "tools/train.py",
        "--config=a b",
        "--c=d",
        "--config.distributed.mode=auto",
    ]


@pytest.mark.parametrize("topology", ["v5e", "v9:4x4", "v5e:1x3", "v5p:2x0x2", "v5e:axb"])
def test_topologies_that_are_none_are_refused(topology):
    with pytest.raises(ValueError, match=f"--topology='{topology}'"):
        gke_jobset.hosts(topology)


@pytest.fixture
def on_tpu_machine(monkeypatch):
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    for name in list(os.environ):
        if name.startswith(("TPU_", "MEGASCALE_", "SLURM_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_a_tpu_pod_is_read_from_the_machines_metadata(on_tpu_machine):
    metadata = {
        "agent-worker-number": "2",
        "worker-network-endpoints": "a:b:127.0.0.1,a:b:127.0.0.2,a:b:127.0.0.3,a:b:127.0.0.4",
        "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'",
    }
    on_tpu_machine.setattr(cloud_tpu_cluster, "get_metadata", lambda key: (metadata[key], 200))
    place = find_place(DistributedConfig(mode="auto"))
    assert (place.count, place.index, place.address) == (4, 2, "127.0.0.1:8482")


def test_slices_count_on_after_each_other(on_tpu_machine):
    """What GKE tells the pods of a JobSet with two slices of four hosts."""
    variables = {
        "TPU_SKIP_MDS_QUERY": "true",
        "TPU_WORKER_ID": "2",
        "TPU_WORKER_HOSTNAMES": "localhost,h1,h2,h3",
        "MEGASCALE_COORDINATOR_ADDRESS": "localhost:8080",
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
    }
    for name, value in variables.items():
        on_tpu_machine.setenv(name, value)
    place = find_place(DistributedConfig(mode="auto"))
    assert (place.count, place.index, place.address) == (8, 6, "localhost:8482")
