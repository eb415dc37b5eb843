"""The quick-start's evaluation: prompts on held-out pictures, and the report.

    python tools/evaluate.py --task=analogies --config=experiments/quickstart_evaluation.py \
        --model=runs/quickstart/model --tokenizer=runs/quickstart/tokenizer/tokenizer \
        --out=runs/quickstart/report

Hardware: two CPU cores. Duration: about a minute.
Expected result: the tables of docs/first_ten_minutes.md, which tools/report_tables.py prints.
Arguments: size=full|smallest, root=runs/quickstart.
"""

from ml_collections import ConfigDict

from experiments import common, own_images, quickstart_sentences


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, size="full", root="runs/quickstart")
    smallest = common.is_smallest(values["size"])
    root = values["root"]
    reconstructions = {
        folder: {"kind": "single", "folder": f"{root}/pictures/held_out/{folder}", "crop": (0.3, 1)}
        for folder in ("color", "gray")
    }
    return ConfigDict(
        {
            "title": "lvm_jax quick-start",
            "tasks": quickstart_sentences.tasks(root, "held_out"),
            "reconstructions": reconstructions,
            "num_reconstructions": 12,
            "evaluation": {
                "seeds": [0, 1, 2],
                "num_examples": 4 if smallest else 32,
                "num_answered": 2 if smallest else 32,
                "num_candidates": 2 if smallest else 4,
                "num_shown": 1 if smallest else 4,
                "temperature": 0.5,
            },
            "commands": [("Train on pictures of your own", own_images.commands("photos=DIR"))],
        }
    )
