r"""Prints a GKE JobSet that trains on TPU slices, for kubectl.

  python tools/launch/gke_jobset.py --name=lvm-3b --topology=v5e:16x16 --image=IMAGE \
      --train="--config=experiments/lvm.py:size=3b --workdir=gs://BUCKET/runs/3b \
      --config.data.shards=gs://BUCKET/shards" | kubectl apply -f -

IMAGE is what tools/launch/Dockerfile makes. Each slice is a Job with one pod a host; GKE tells the
pods of each other, and --config.distributed.mode=auto reads that. A pod that is told to leave saves
first, like all others; the JobSet then starts again and goes on from the newest checkpoint.
"""

import dataclasses
import math
import pathlib
import shlex
import sys
from typing import Any

# A program of a folder below: what the tools share is beside the folder.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cli

# What GKE calls an accelerator.
ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
CHIPS_PER_HOST = 4
# Of the TPU runtime, of its metrics and of the slices' meeting.
PORTS = (8471, 8431, 8080)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which training, and where.

    Attributes:
        name: of the JobSet.
        topology: generation and chips of a slice, such as v5e:16x16 or v5p:4x4x8.
        slices: slices of the run; more than one need mesh.data a multiple of them.
        image: container image with lvm_jax in its working directory.
        train: flags of tools/train.py in one pair of quotes; the workdir on a store that all pods
            reach.
        restarts: how often the JobSet may start again.
        grace_seconds: from a pod's notice to its end; a step and a save must fit.
        spot: on spot machines.
        service_account: of Kubernetes, that may read and write the stores; default the namespace's.
    """

    name: str
    topology: str
    slices: int = 1
    image: str
    train: str
    restarts: int = 1000
    grace_seconds: int = 120
    spot: bool = False
    service_account: str | None = None


def hosts(topology: str) -> tuple[str, str, int]:
    """ "v5e:16x16" -> (GKE's accelerator, GKE's topology, hosts of a slice).

    Raises:
        ValueError: no such accelerator, or no whole number of hosts.
    """
    generation, _, shape = topology.partition(":")
    sizes = shape.split("x")
    if generation not in ACCELERATORS or not all(size.isdecimal() for size in sizes):
        known = ", ".join(ACCELERATORS)
        raise ValueError(
            f"--topology={topology!r} must be a generation ({known}) and chips, such as v5e:16x16"
        )
    chips = math.prod(map(int, sizes))
    if not chips or chips % CHIPS_PER_HOST:
        raise ValueError(
            f"--topology={topology!r} has {chips} chips; slices of several hosts have a multiple "
            f"of {CHIPS_PER_HOST}"
        )
    return ACCELERATORS[generation], shape, chips // CHIPS_PER_HOST


def jobset(options: Options) -> dict[str, Any]:
    """The JobSet, as Kubernetes reads it."""
    accelerator, topology, count = hosts(options.topology)
    command = ["python", "tools/train.py", *shlex.split(options.train)]
    container = {
        "name": "train",
        "image": options.image,
        # Not through a shell: it would keep the notice to leave for itself.
        "command": [*command, "--config.distributed.mode=auto"],
        "ports": [{"containerPort": port} for port in PORTS],
        "securityContext": {"privileged": True},
        "resources": {"limits": {"google.com/tpu": CHIPS_PER_HOST}},
    }
    selector = {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options.grace_seconds,
        "nodeSelector": selector,
        "containers": [container],
    }
    if options.spot:
        selector["cloud.google.com/gke-spot"] = "true"
        pod["tolerations"] = [{"key": "cloud.google.com/gke-spot", "operator": "Exists"}]
    if options.service_account is not None:
        pod["serviceAccountName"] = options.service_account
    job = {
        "parallelism": count,
        "completions": count,
        "completionMode": "Indexed",
        # One pod less is a run less: the JobSet starts all again.
        "backoffLimit": 0,
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": options.name,
            # A slice is a node pool: no two Jobs share one.
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            "failurePolicy": {"maxRestarts": options.restarts},
            "replicatedJobs": [
                {"name": "slice", "replicas": options.slices, "template": {"spec": job}}
            ],
        },
    }


def main(options: Options) -> None:
    import yaml

    print(yaml.safe_dump(jobset(options), sort_keys=False), end="")


if __name__ == "__main__":
    cli.run(main)
