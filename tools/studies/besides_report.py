"""What tells reasons apart, in tables: other data and lengths beside the study's, and copying."""

from collections.abc import Mapping, Sequence

from studies import plan
from studies.found import Found
from studies.markdown import table
from studies.plan import SHOTS, SHOTS_SHOWN, TASKS, TIMES_SHOWN, VIDEOS, Run
from studies.results import Results


def lines(found: Found) -> list[str]:
    """Paragraphs; none of what is not there yet."""
    runs, rare, copies = _runs(found), found.rare(), found.copies()
    text = []
    if runs:
        text += [
            "Other data or another length, one seed each, beside the run of the same size and seed "
            "on `all`. Gains are nats per id by which it is better than that run on the same "
            "prompts, after five pairs.",
            _runs_table(found, runs),
        ]
    if rare:
        text += [
            "Rare annotations, one seed: of the corpus's annotated sentences one in so many is "
            "there, alone or with all other pictures. Nats per id after five pairs, and in "
            "brackets by how much the run with all other pictures and as few annotations is "
            "better.",
            _rare_table(found, rare),
            "![rare](rare.png)",
        ]
    if copies:
        text += [
            "What was shown before is asked for again: a frame after so many copies of itself, and "
            "an answer whose own pair is all the examples. Nats per id. Some went on from `all_s` "
            "with sentences that show every pair twice: `repeats` in the same order, `shuffled` in "
            "another.",
            _frames_table(copies),
            _answers_table(copies, found),
        ]
    return text or ["Nothing yet."]


def _runs(found: Found) -> dict[Run, Results]:
    of_data = Run(mixture="annotations", size=plan.SIZE_OF_DATA, c=found.c, seed=0)
    rare = found.rare()
    asked = [of_data, *(run for run in found.besides() if run not in rare)]
    return {run: found.results[run.name] for run in asked if run.name in found.results}


def _runs_table(found: Found, runs: Mapping[Run, Results]) -> str:
    rows = []
    for run, results in runs.items():
        plain = Run(mixture="all", size=run.size, c=run.c, seed=run.seed)
        reference = found.results.get(plain.name)
        config = results["config"]
        row = [run.name, f"{config['steps']:,}", f"{config['epochs']:.1f}"]
        row.append(f"{results['held_out']['loss']:.3f}")
        for task in TASKS:
            known = reference is not None
            row.append(_gain(found, run.size, task, reference, results) if known else "")
        rows.append(row)
    heads = [f"{title}, gain" for title in TASKS.values()]
    return table(["", "steps", "passes", "held-out loss", *heads], rows)


def _gain(found: Found, size: str, task: str, worse: Results, better: Results) -> str:
    step = found.gain(task, size, worse, better)
    return f"{step.gain:+.3f} ± {step.error:.3f}"


def _rare_table(found: Found, runs: Mapping[Run, Results]) -> str:
    rows = []
    for run, results in runs.items():
        config = results["config"]
        passes = "" if run.passes is None else f", passes={run.passes}"
        row = [f"1 in {run.few}, {run.mixture}{passes}", f"{config['steps']:,}"]
        row += [f"{config['epochs']:.1f}", f"{results['held_out']['loss']:.3f}"]
        whole = runs.get(run.beside_all)
        for task in TASKS:
            loss = f"{results['evaluations'][task]['nll'][0]:.3f}"
            if whole is not None and whole is not results:
                loss += f" ({_gain(found, run.size, task, results, whole)})"
            row.append(loss)
        rows.append(row)
    heads = [f"{title}, {task}" for task, title in TASKS.items()]
    return table(["annotated sentences", "steps", "passes", "held-out loss", *heads], rows)


def _frames_table(copies: Mapping[str, Results]) -> str:
    rows = [
        [f"{name}, {video}", *_losses(results["evaluations"][video], TIMES_SHOWN)]
        for name, results in copies.items()
        for video in VIDEOS
    ]
    return table(["loss of a frame shown ... times", *map(str, TIMES_SHOWN)], rows)


def _answers_table(copies: Mapping[str, Results], found: Found) -> str:
    rows = []
    for name, results in copies.items():
        trained = found.results.get(results["run"])
        for task in TASKS:
            other = "" if trained is None else f"{trained['evaluations'][task]['nll'][0]:.3f}"
            own = _losses(results["evaluations"][task], SHOTS_SHOWN)
            rows.append([f"{name}, {task}", *own, other])
    heads = [f"own pair {n} times" for n in SHOTS_SHOWN]
    return table(["loss of an answer", *heads, f"{SHOTS} other pairs"], rows)


def _losses(task: Results, lengths: Sequence[int]) -> list[str]:
    return [f"{task['by_length'][str(n)]['nll'][0]:.3f}" for n in lengths]
