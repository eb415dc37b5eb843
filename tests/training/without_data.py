"""What must hold of a training that was made without data, once there are some."""

import jax

from lvm_jax.training import metrics


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), tree)


def assert_compiled_step_is_the_loops(training, traced, batch, constants, workdir):
    """The step that was traced from shapes alone takes real arrays and gives the run's first loss.

    Args:
        training: as it was made without data.
        traced: what it gave before there were any.
        batch, constants: the run's first, and its own.
        workdir: of a run of the same experiment.
    """
    assert shapes(batch) == shapes(training.abstract_batch)
    assert shapes(constants) == shapes(training.constants)
    state = training.init_state()
    assert shapes(state) == shapes(training.abstract_state())
    _, values = traced.lower().compile()(state, batch, *constants)
    first = metrics.read_metrics(workdir)[0]
    assert first["step"] == 1 and float(values["loss"]) == first["train/loss"]
