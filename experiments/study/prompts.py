"""The study's prompts: every task of pairs on held-out things, and queries that tasks share.

    python tools/evaluate.py --task=analogies --config=experiments/study/prompts.py \
        --model=runs/study/runs/all_l_c0.64_seed0 --tokenizer=runs/study/tokenizer \
        --out=runs/study/prompts/all_l_c0.64_seed0

Measures the tasks of one run; `tools/study.py --study=prompts` asks the shared queries too, of all
runs that it is about.
Hardware: two CPU cores. Duration: minutes, more for larger models; results say how long it took.
Expected result: the tasks in experiments/results/study/prompts_RUN.json.
Arguments: root=runs/uvd_mini, shots=5, size=full|smallest.
"""

from ml_collections import ConfigDict

from experiments import common, uvd_mini
from experiments.study import corpus

UNSEEN = "unseen_"  # begins the names of tasks that training never poses
# By their first metric answers must beat what takes no understanding; others are measured by the
# squared error of their pixels.
MASK = {"task": "foreground", "side": 64}
EDGES = {"task": "edges"}
MEASURES = {
    "emoji_mask": MASK,
    "unseen_land": MASK,
    "emoji_edges": EDGES,
    "model_edges": EDGES,
    "satellite_edges": EDGES,
    # Gray 255 is the nearest and 40 the farthest point of the unit ball, seen from 2.92 away.
    "depth": {
        "task": "depth",
        "near": 1.924,
        "far": 3.924,
        "far_at": 40 / 255,
        "nothing": "black",
    },
    "normals": {"task": "normals"},
    "unseen_material": {"task": "segmentation", "num_labels": 64},
    "colorization": {"task": "colorization"},
    "inpainting": {"task": "inpainting"},
}
FIRST_IDS = (1, 4, 8)
COLORFUL = "emoji"  # the group of `shared` that is also asked in gray
AMOUNTS = {
    "full": {
        "seeds": (0, 1, 2),
        "num_examples": 24,
        "num_answered": 24,
        "num_candidates": 2,
        "batch_size": 16,
    },
    "smallest": {
        "seeds": (0,),
        "num_examples": 2,
        "num_answered": 1,
        "num_candidates": 1,
        "batch_size": 4,
    },
}


def tasks(folder: str, shots: int) -> dict[str, dict]:
    """Every task of pairs, those that training never poses last.

    Args:
        folder: of the split.
        shots: example pairs before a query.
    """
    pairs = shots + 1
    known = corpus.tasks(folder, pairs, images=2 * pairs) | corpus.unseen_tasks(folder, pairs)
    return {name: task for name, task in known.items() if "pairs_per_sentence" in task}


def shared(folder: str, shots: int) -> dict[str, dict[str, dict]]:
    """Group -> kinds of answers to the same queries.

    Sources of one name, over the same pictures, deal the same ones in the same squares, so that
    prompts differ in their examples' answers alone. Nothing is mirrored, since of normals and of
    relief nothing is.
    """

    def group(name: str, question: str, answers: dict[str, str], **more) -> dict[str, dict]:
        squares = {"name": name, "crop": (0.7, 1.0), "same_crop": False, **more}
        return {
            kind: uvd_mini.annotation(folder, shots + 1, question, answer, **squares)
            for kind, answer in answers.items()
        }

    return {
        "emoji": group(
            "shared_emoji",
            "emoji_3d",
            {"mask": "emoji_mask", "edges": "edges/emoji_3d", "flat": "emoji_flat"},
        ),
        "model": group(
            "shared_model",
            "models/*/color",
            {
                "depth": "models/*/depth",
                "normals": "models/*/normal",
                "mask": "models/*/mask",
                "edges": "edges/models/*/color",
            },
            include=uvd_mini.EDGE_VIEWS,
        ),
        "satellite": group(
            "shared_satellite",
            "earth/satellite",
            {"relief": "earth/relief", "edges": "edges/earth/satellite", "land": "earth/land"},
        ),
    }


def evaluation(root: str, shots: int, size: str) -> dict:
    """What is asked of a run, as an `analogy_experiment`.

    Args:
        root: of UVD-mini.
        shots: example pairs before a query.
        size: of `AMOUNTS`.
    """
    amounts = {**AMOUNTS[size], "num_shown": 3, "select": False, "first_ids": FIRST_IDS}
    return {
        "title": "Tasks posed by their prompts",
        "tasks": tasks(f"{root}/held_out", shots),
        "measures": MEASURES,
        "evaluation": {**amounts, "temperature": 0.5},
    }


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, root="runs/uvd_mini", shots=5, size="full")
    common.require_one_of(tuple(AMOUNTS), size=values["size"])
    return ConfigDict(evaluation(**values))
