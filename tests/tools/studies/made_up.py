"""Results of trainings that never were, with laws and orders that are known."""

import math

import numpy as np

from studies import plan
from studies.plan import Job, Run

PARAMETERS = {"xs": 280_000, "s": 670_000, "m": 2_060_000, "l": 5_060_000}
NUM_PROMPTS, PER_THING = 24, 2
LEVELS = {"video": 1.3, "annotations": 1.1, "both": 1.05, "all": 1.0}


def law(size: str, exponent: float = 0.05) -> float:
    """Nats per id."""
    return 6.0 * PARAMETERS[size] ** -exponent


def run(of: Run, *, loss: float | None = None, noise: float = 0.0) -> dict:
    """Results of a training; its loss follows `law` and the order of `LEVELS`."""
    loss = law(of.size) * LEVELS[of.mixture] if loss is None else loss
    rng = np.random.default_rng([of.seed, PARAMETERS[of.size]])
    loss += noise * float(rng.standard_normal())
    ids = [10**5 * k for k in range(1, 101)]
    return {
        "kind": "run",
        "run": of.name,
        "config": {
            "mixture": of.mixture,
            "size": of.size,
            "c": of.c,
            "seed": of.seed,
            "parameters": PARAMETERS[of.size],
            "matrix_parameters": PARAMETERS[of.size] // 2,
            "flops": 6.0 * PARAMETERS[of.size] * 1e7,
            "ids_with_loss": 10**7,
            "steps": 1250,
            "epochs": 1.0,
        },
        "training": {"ids": ids, "loss": [loss + 2e5 / n for n in ids]},
        "held_out": {"loss": loss},
        "evaluations": {task: answers(loss, shift) for shift, task in enumerate(plan.TASKS)},
        "hardware": {"cores": 1},
        "seconds": {"training": 100.0},
    }


def answers(loss: float, shift: int) -> dict:
    """Of one task: prompts differ among each other, by the same in every run."""
    own = np.random.default_rng(shift).standard_normal(NUM_PROMPTS) * 0.4
    nll = loss + own - own.mean()
    things = [n // PER_THING for n in range(NUM_PROMPTS)]
    error = float(nll.std() / math.sqrt(NUM_PROMPTS))
    return {
        "perplexity": [float(np.exp(nll).mean()), 0.1],
        "nll": [float(nll.mean()), error],
        "nll_of_prompts": nll.tolist(),
        "things": things,
    }


def context(of: Run, *, gain: float = 0.1) -> dict:
    """Of a model whose loss falls by `gain` with every length."""
    tasks = dict.fromkeys(plan.VIDEOS, plan.FRAMES_BEFORE) | dict.fromkeys(
        plan.TASKS, plan.PAIRS_BEFORE
    )
    evaluations = {}
    for task, lengths in tasks.items():
        by_length = {}
        for place, length in enumerate(lengths):
            nll = 3.0 - gain * place
            by_length[str(length)] = {"perplexity": [math.exp(nll), 0.1], "nll": [nll, 0.05]}
            if place:
                by_length[str(length)]["gain"] = [gain, 0.02]
        evaluations[task] = {"by_length": by_length}
    return {"kind": "context", "run": of.name, "evaluations": evaluations}


def copies(of: Run) -> dict:
    """Of a model that is certain of what it has seen, and the more the larger it is."""
    pairs, frames = plan.lengths("copies")
    evaluations = {}
    for task, lengths in {
        **dict.fromkeys(plan.VIDEOS, frames),
        **dict.fromkeys(plan.TASKS, pairs),
    }.items():
        nll = {n: law(of.size) / (1 + n) for n in lengths}
        evaluations[task] = {
            "by_length": {str(n): {"nll": [loss, 0.05]} for n, loss in nll.items()}
        }
    return {"kind": "copies", "run": of.name, "evaluations": evaluations}


def study(**options: float) -> dict[str, dict]:
    """All but prompts; the sweep likes c = 0.64."""
    found = {}
    for job in plan.jobs(("scaling", "data", "context", "besides"), 0.64):
        found[job.name] = of_job(job, **options)
    return found


def of_job(job: Job, **options: float) -> dict:
    """The results of a job."""
    if job.kind == "context":
        return context(job.run)
    if job.kind == "copies":
        return copies(job.run)
    assert job.run.c is not None
    worse = 0.1 * abs(math.log2(job.run.c / 0.64))
    if job.run.mixture == "annotations":  # nothing else is there to learn from
        worse += 0.2 * math.log10(job.run.few)
    return run(job.run, loss=law(job.run.size) * LEVELS[job.run.mixture] + worse, **options)
