r"""Prints the tables of a report as Markdown, as docs/first_ten_minutes.md shows them.

  python tools/report_tables.py runs/quickstart/report/evaluation.json

In bold is what the model does; in italics is what it does not beat
clearly. The picture there is answers.png beside it.
"""

import dataclasses

import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which report.

    Attributes:
        file: its evaluation.json, or analogies.json of earlier versions.
    """

    file: str


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.evaluation.asking import evaluation_file
    from lvm_jax.evaluation.report import wording

    results = evaluation_file.read(options.file)
    print(f"{wording.headline(results)}\n\n{wording.markdown(results)}")


if __name__ == "__main__":
    cli.run(main, arguments={"file": "FILE"})
