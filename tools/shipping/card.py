"""The card of a pair that ships: what it is, what it learned from, what it can and cannot do."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from shipping.licences import Attribution
from shipping.origins import Origins
from shipping.pairs import Checked
from shipping.prompts import FIRST
from studies import prompts_report

_WIDTH = 100
CARD, ATTRIBUTION = "MODEL_CARD.md", "ATTRIBUTION.md"
# What the terms of pictures that are passed on want to be said with them.
_TERMS = """## Terms

- CC BY 3.0: https://creativecommons.org/licenses/by/3.0/legalcode
- CC BY 3.0 US: https://creativecommons.org/licenses/by/3.0/us/legalcode
- CC0: https://creativecommons.org/publicdomain/zero/1.0/legalcode
- MIT, of the authors named above:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.""".splitlines()


def text(
    name: str,
    *,
    networks: Mapping[str, Any],
    origins: Origins,
    attribution: Attribution,
    checked: Checked,
    measured: Mapping[str, Any],
    prompts: Mapping[str, Any] | None,
    shipped: Sequence[str],
) -> str:
    """MODEL_CARD.md.

    Args:
        name: of the pair.
        networks: `pairs.about`.
        origins: of what it was trained on.
        attribution: of these pictures.
        checked: how the rounded pair differs.
        measured: results of the run, see tools/studies/results.py.
        prompts: results of its prompts; None where they were not asked.
        shipped: names of the prompt files beside it.
    """
    sections = (
        ("", _what(name, networks)),
        ("Use", _use(name, shipped)),
        ("Data", _data(origins, attribution)),
        ("Training", _training(origins, measured)),
        ("Measured", [*_measured(measured), *_asked(prompts), *_checked(checked)]),
        ("Limits", _limits(networks, measured, prompts)),
        ("Not to be used for", _not_for()),
    )
    lines = [f"# {name}"]
    for title, content in sections:
        lines += ["", *((f"## {title}", "") if title else ()), *content]
    return "\n".join(lines) + "\n"


def attribution_text(name: str, attribution: Attribution) -> str:
    """ATTRIBUTION.md beside it."""
    models = ["", "## 3D models", "", *attribution.models] if attribution.models else []
    about = _paragraph(
        f"The model and the tokenizer {name} learned from pictures that were made from the packages"
        " below. No picture is part of them. Pictures are part of prompts/, cropped, resized and "
        "otherwise changed; each of its files says whose they are. Whoever passes any of it on "
        "passes on this file."
    )
    lines = ["# Attribution", "", *about, "", *attribution.table(), *models, "", *_TERMS]
    return "\n".join(lines) + "\n"


def _paragraph(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullets(points: Sequence[str]) -> list[str]:
    return [
        line
        for point in points
        for line in textwrap.wrap(
            f"- {point}",
            _WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _what(name: str, networks: Mapping[str, Any]) -> list[str]:
    return _paragraph(
        f"A very small Large Vision Model and its tokenizer, to try visual prompts without training"
        f" anything. The tokenizer makes {networks['tokens_per_image']} ids of {networks['codes']} "
        f"codes of a picture of {networks['image_size']} x {networks['image_size']} pixels; the "
        f"transformer has {networks['parameters']:,} parameters ({networks['width']} wide, "
        f"{networks['layers']} layers) and sees {networks['context']:,} ids, which is "
        f"{networks['context'] // networks['tokens_per_image']} pictures. Fingerprint of the "
        f"tokenizer: {networks['fingerprint']}."
    )


def _use(name: str, shipped: Sequence[str]) -> list[str]:
    return [
        "```",
        f"python tools/generate.py --pretrained={name} --prompt={FIRST} --out=answer.png",
        f"python tools/generate.py --pretrained={name} --prompt=analogy --out=answer.png \\",
        "    --images in1.png out1.png in2.png out2.png query.png",
        f"python tools/demo.py --pretrained={name}",
        "```",
        "",
        *_paragraph(
            "Prompts of held-out pictures, with the true answer, come along (prompts/NAME.json): "
            f"{', '.join(shipped)}. They were chosen before anything answered them: each is the "
            "first of its task whose pairs show different things, or of twenty clips the one in "
            "which most moves; NAME_2 is the second."
        ),
        "",
        "In Python:",
        "",
        "```",
        f'model, tokenizer = lvm_jax.load_pretrained("{name}")',
        f'prompt = lvm_jax.load_prompt("{FIRST}", tokenizer)',
        "answers = lvm_jax.generate(model, tokenizer, prompt.images, num_candidates=4)",
        "```",
    ]


def _data(origins: Origins, attribution: Attribution) -> list[str]:
    return [
        *_paragraph(
            f"UVD-mini (tools/prepare_uvd_mini.py) without OpenMoji, whose terms are share-alike: "
            f"{origins.sentences:,} visual sentences of {origins.images:,} pictures for the "
            "transformer, and the same folders, each kind equally often, for the tokenizer. No "
            "photographs, no people other than as emoji. The folders: "
            f"{', '.join(sorted(origins.folders))}. Things, models and a band of the map were held "
            "out of all training. ATTRIBUTION.md credits the author of every 3D model."
        ),
        "",
        *attribution.table(),
    ]


def _training(origins: Origins, measured: Mapping[str, Any]) -> list[str]:
    run, tokenizer = measured["config"], origins.tokenizer
    seen = tokenizer["loop"]["num_steps"] * tokenizer["batch_size"]
    hours = measured["seconds"]["training"] / 3600
    machine = measured["hardware"]
    return _bullets(
        [
            f"Transformer: run {measured['run']} of the study (docs/study_plan.md): mixture "
            f"{run['mixture']}, {run['steps']:,} steps, {run['ids']:,} ids, {run['flops']:.2g} "
            f"FLOPs, peak learning rate {run['peak_lr']:.3g}, seed {run['seed']}; {hours:.1f} "
            f"hours on {machine['cores']} cores ({machine['cpu']}).",
            f"Tokenizer: {seen:,} images, seed {tokenizer['seed']}; experiments/study/tokenizer.py "
            "says how.",
        ]
    )


def _measured(measured: Mapping[str, Any]) -> list[str]:
    loss = measured["held_out"]["loss"]
    rows = [
        f"| {name} | {_with_error(task['perplexity'])} | {_with_error(task['nll'])} | "
        f"{task['prompts']} |"
        for name, task in measured["evaluations"].items()
    ]
    return [
        *_paragraph(
            f"On things that training never showed. Held-out loss: {loss:.4g} nats per id. "
            "Perplexity of the true answer after five pairs of examples, with standard errors over "
            "things:"
        ),
        "",
        "| task | perplexity | nats per id | prompts |",
        "|---|---|---|---|",
        *rows,
    ]


def _with_error(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} ± {values[1]:.2g}"


def _asked(prompts: Mapping[str, Any] | None) -> list[str]:
    """A table of the tasks that were asked, if they were."""
    if prompts is None:
        return []
    words = (
        "Tasks asked by example; those called unseen_* were never posed in training. Perplexities "
        "are of the true answer; which tasks are posed by their examples, and answered better than "
        "trivially, is said below."
    )
    return ["", *_paragraph(words), "", *prompts_report.tasks_table(prompts).splitlines()]


def _checked(checked: Checked) -> list[str]:
    lost = "; ".join(f"{name} {a:.3f} -> {b:.3f}" for name, (a, b) in checked.nats.items())
    return [
        "",
        *_paragraph(
            f"What ships is rounded: {checked.same_ids:.1%} of the ids of {checked.pictures} "
            f"held-out pictures stayed the same, and nats per id of the true answers to "
            f"{checked.prompts} prompts of each task changed so: {lost}."
        ),
    ]


def _limits(
    networks: Mapping[str, Any], measured: Mapping[str, Any], prompts: Mapping[str, Any] | None
) -> list[str]:
    tasks = measured["evaluations"].items()
    hardest, task = max(tasks, key=lambda item: item[1]["perplexity"][0])
    points = [
        f"{networks['tokens_per_image']} ids keep little of a picture: thin lines, texture, faces "
        "and letters are lost before the transformer sees them.",
        f"Answers are drawn, and differ from draw to draw; of the tasks above {hardest} is the "
        f"hardest, with {task['perplexity'][0]:.3g} codes to choose among at each id.",
        "It knows emoji, a few hundred household things rendered on plain ground, and maps from "
        "space. Photographs of things were not in its training: fine-tune it "
        "(experiments/finetune.py) and measure what comes of it, as docs/first_ten_minutes.md "
        "does.",
        "Of clips, the loss of true frames alone was measured: look at what it draws after "
        "--prompt=animation before you expect a video.",
    ]
    if prompts is None:
        points.append("Whether examples tell it which task is meant was not measured for this run.")
    else:
        asked = prompts["tasks"]
        unposed = [name for name, task in asked.items() if not task["truth"]["all"]["posed"]]
        poor = [name for name, task in asked.items() if not task["metric"]["beats_all"]]
        if unposed:
            points.append(
                "Not posed by their examples, that is not clearly (by two standard errors) more "
                "probable after the right examples than after another task's and than after the "
                f"query alone: {', '.join(unposed)}."
            )
        if poor:
            points.append(
                "Not answered better than trivially, that is not clearly nearer to the truth than "
                f"each of the baselines: {', '.join(poor)}."
            )
    return _bullets(points)


def _not_for() -> list[str]:
    return _bullets(
        [
            "Decisions about anything real: its masks, depths, normals and edges are guesses.",
            "Comparison with published Large Vision Models, which are a thousand times larger; it "
            "shows how such models are asked, not what they can do.",
            "Pictures of people, documents, medical or security images: nothing of the kind was "
            "learned.",
            "Anything where an invented picture could be taken for a true one.",
        ]
    )
