"""Some steps of a transformer's training and its scores, without the supervisor and the loop.

On four devices.

Arguments: processes, this one's number, where process 0 listens (- is one process without JAX's
distributed runtime), and a file for the losses, which process 0 writes.
"""

import json
import pathlib
import sys

import numpy as np

from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.distributed import supervisor
from lvm_jax.distributed.distributed_config import DistributedConfig
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.mesh import MeshConfig
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training.loop import LoopConfig
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.transformer import batch, transformer_job
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

NUM_STEPS, ROWS, CONTEXT = 5, 8, 32


def main(count: int, index: int, address: str, path: pathlib.Path) -> None:
    if address != "-":
        mode = {"mode": "explicit", "coordinator_address": address}
        supervisor.start_unsupervised(
            DistributedConfig(**mode, num_processes=count, process_id=index)
        )
    experiment = TransformerExperiment(
        batch_size=ROWS,
        data=DataConfig(shards="none", context=CONTEXT),
        model=PRESETS["debug"],
        optimizer=OptimizerConfig(peak_lr=0.01, warmup_steps=0, decay_steps=NUM_STEPS),
        mesh=MeshConfig(data=2, fsdp=2),
        loop=LoopConfig(num_steps=NUM_STEPS),
    )
    mesh = transformer_job.make_mesh(experiment)
    training = transformer_job.make_training(experiment, mesh)
    num_codes = experiment.model.vocabulary.num_codes
    state, losses = training.init_state(), []
    for step in range(NUM_STEPS):
        rows = batch.random_batch(num_codes, ROWS, CONTEXT, packed=True, seed=step)
        state, metrics = training.step(state, batch.place(rows, training.abstract_batch))
        losses.append({name: float(metrics[name]) for name in ("loss", "grad_norm", "param_norm")})
        # What an evaluation scores does not depend on who has the devices either.
        model = LanguageModel(config=experiment.model, params=state["params"], mesh=mesh)
        ids = np.random.default_rng(step).integers(0, num_codes, (ROWS - 1, CONTEXT))
        nll = perplexity.target_nll(model, ids[:, :20], ids[:, 20:], batch_size=ROWS)
        losses[-1]["target_nll"] = float(nll.mean())
    if index == 0:
        path.write_text(json.dumps(losses))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4]))
