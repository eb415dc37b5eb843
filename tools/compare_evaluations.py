r"""Puts evaluations side by side, or says what makes them incomparable.

  python tools/compare_evaluations.py runs/a/evaluation runs/b/evaluation --html=comparison.html

Each is an evaluation.json of tools/evaluate.py, or the folder that holds it. They must be made
alike: the same tokenizer, tasks, settings, seeds, prompts and inputs; models may differ, for that
is the point. Where the same examples were scored, each is compared with itself, so that small
differences show. Anything else that differs is named, and may be allowed:

  python tools/compare_evaluations.py a b --allow=settings.temperature,seeds
"""

import dataclasses

import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which evaluations.

    Attributes:
        evaluations: two or more, of which the first is what the others are compared with.
        allow: parts of the manifests that may differ, such as settings.temperature or inputs.
        html: page to write.
        json: file to write, with all numbers.
    """

    evaluations: tuple[str, ...]
    allow: tuple[str, ...] = ()
    html: str | None = None
    json: str | None = None


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for numpy.
    from lvm_jax import atomic
    from lvm_jax.evaluation.report import evaluations, evaluations_page, evaluations_wording

    comparison = evaluations.compare(options.evaluations, options.allow)
    print("\n".join(evaluations_wording.text(comparison)))
    if options.html is not None:
        evaluations_page.write(options.html, comparison)
        print(f"wrote {options.html}")
    if options.json is not None:
        report = evaluations_wording.report(comparison)
        atomic.write_json(options.json, report, indent=1, parents=True)
        print(f"wrote {options.json}")


if __name__ == "__main__":
    cli.run(main, arguments={"evaluations": "A B..."}, words="evaluations")
