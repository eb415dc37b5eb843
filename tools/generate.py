r"""Answers visual prompts: images in, new images out.

  python tools/generate.py --pretrained=uvd_mini --prompt=emoji_mask --out=answer.png
  python tools/generate.py --model=DIR --tokenizer=DIR --prompt=analogy \
      --images in1.png out1.png in2.png out2.png query.png --num_candidates=4 --out=answer.png
  python tools/generate.py --model=DIR --tokenizer=DIR --input_file=prompts.jsonl
  python tools/generate.py --model=DIR --tokenizer=DIR --frames=clip.mp4 --num_new_images=4 \
      --include_input --out=longer.mp4
  python tools/generate.py --pretrained=uvd_mini --images a.png b.png c.png --out=answer.png
  python tools/generate.py --model=DIR --tokenizer=DIR --prompt=prompt.json --out=answer.png

A line of the input file is {"input": ["a.png", "b.png", ...], "output": "answer.png"}, and if you
like "target": "truth.png" (or a list, one for each new image), which gives the PSNR, and "seed": 7.
Paths are relative to where the command runs. An answer depends on its own line alone.

A prompt file is JSON with pictures and settings inside, as the page of tools/demo.py saves it. Some
ship with the package, and are asked for by their name: emoji_mask is one, and a name that is none
is answered by a list of all.

With --images, or of a prompt file, the output is a labelled picture of the prompt and its answers,
enlarged. With --input_file, or --nosheet, it is what the model drew and nothing else: one image at
its own size, or a grid of a row per candidate and a column per new image. --files writes each image
into a file of its own: answer.png becomes answer_candidate1_image1.png, ... --frames continues a
clip (a video, a GIF, a folder, a pattern, or pictures with commas between) into a GIF, a video, or
a folder of frames where --out has no extension; several candidates are clips of their own.

Beside every output, OUTPUT.json says how it was made. A file of prompts that was interrupted goes
on when started again: outputs that are there with the same settings are kept, and one that was made
with others, or is somebody else's, is refused unless --overwrite replaces it.

A prompt that is too long for the model's context is refused, or loses its oldest images with
--drop_oldest. New images beyond the context, and long clips, make the oldest frames go: each new
image is drawn from those before it that fit, as if the sentence began with the oldest of them.

Pictures are read as those were that the model learned from: its directory says how.
"""

import dataclasses
import gc
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import cli
import json_lines
from generation_options import (
    LAYOUTS,
    Answering,
    Continuation,
    ManyPrompts,
    OnePrompt,
    SavedPrompt,
)
from lvm_jax import configs

if TYPE_CHECKING:
    from lvm_jax.generation.jobs.batch import Finished
    from lvm_jax.generation.jobs.job import Job

_ANY_ROOM = 2**31  # while the model is not known
_FRAMES_PER_SECOND = 8.0  # of clips that do not say


def one_prompt(options: OnePrompt) -> None:
    json_lines.require_files(options.images, "--images")
    sheet = not options.files if options.sheet is None else options.sheet
    job = options.job(options.images, options.out, "--images", sheet=sheet)
    # The one output that the command line names is meant.
    _answer(options, lambda room: [job], overwrite=True)


def many_prompts(options: ManyPrompts) -> None:
    jobs = []
    for where, values in json_lines.read(options.input_file):
        output = values.get("output")
        if not isinstance(output, str) or not output:
            raise ValueError(f'{where}: "output" must be the picture to write')
        inputs, more = json_lines.paths(values, "input", where), _more(values, where)
        jobs.append(options.job(inputs, output, where, sheet=bool(options.sheet), **more))
    _answer(options, lambda room: jobs, overwrite=options.overwrite)


def _more(values: dict[str, Any], where: str) -> dict[str, Any]:
    """What a line may say beside its input and output."""
    from lvm_jax.generation.jobs.job import Picture

    more: dict[str, Any] = {}
    if "target" in values:
        named = values["target"]
        listed = {"target": [named] if isinstance(named, str) else named}
        targets = json_lines.paths(listed, "target", where)
        more["targets"] = tuple(Picture(path=name) for name in targets)
    if "seed" in values:
        seed = values["seed"]
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ValueError(f'{where}: "seed" must be a whole number in [0, 2**32), not {seed!r}')
        more["seed"] = seed
    return more


def saved_prompt(options: SavedPrompt) -> None:
    from lvm_jax.generation.jobs import prompt_files
    from lvm_jax.generation.jobs.job import Job, Picture
    from lvm_jax.pretrained import places

    if options.prompt in LAYOUTS:
        raise ValueError(f"--prompt={options.prompt} needs --images or --input_file")
    prompt = prompt_files.read(places.find_prompt(options.prompt))

    def pictures(paths: list[str]) -> tuple[Picture, ...]:
        inside = (f"{options.prompt}#{pathlib.PurePath(path).name}" for path in paths)
        return tuple(Picture(path=path, name=name) for path, name in zip(paths, inside))

    sheet = options.sheet is not False
    with tempfile.TemporaryDirectory(prefix="lvm_jax_prompt_") as folder:
        images, targets = prompt.unpack(folder)
        job = Job(
            images=pictures(images),
            targets=pictures(targets),
            output=options.out,
            layout=prompt.layout,
            answer=dataclasses.replace(
                prompt.answer.config(prompt.layout),
                **options.overrides(),
                batch_size=options.batch_size,
                weights=options.weights,
                cache=options.cache,
            ),
            drawing=options.drawing("files" if options.files else "sheet" if sheet else "grid"),
            where=options.prompt,
        )
        _answer(options, lambda room: [job], overwrite=True)


def continuation(options: Continuation) -> None:
    from lvm_jax.generation.jobs import clip_prompts
    from lvm_jax.generation.jobs.job import Drawing, Job
    from lvm_jax.images import ImageConfig

    try:
        limit = options.max_pixels or ImageConfig().max_pixels
        frames = clip_prompts.frames_of(options.frames, limit)
        known = clip_prompts.frames_per_second(frames) or _FRAMES_PER_SECOND * options.stride
    except ValueError as error:
        raise ValueError(f"--frames: {error}") from error
    with configs.within("", frames_per_second="fps"):
        drawing = Drawing(
            form="clip",
            include_input=options.include_input,
            original_size=options.original_size,
            scale=options.scale,
            frames_per_second=known / options.stride if options.fps is None else options.fps,
        )

    def jobs(room: int) -> list[Job]:
        chosen = clip_prompts.choose(
            frames,
            options.num_frames,
            most=room,
            start=options.start,
            stride=options.stride,
        )
        answer = options.answer(drop_oldest=True)
        return [
            Job(images=chosen, output=options.out, answer=answer, drawing=drawing, where="--frames")
        ]

    # A folder may hold what is not ours.
    is_file = bool(pathlib.Path(options.out).suffix)
    _answer(options, jobs, overwrite=options.overwrite or is_file)


def _answer(options: Answering, jobs_for: Callable[[int], list["Job"]], *, overwrite: bool) -> None:
    """Answers jobs, given how many images fit beside a new one."""
    pair = options.pair()
    # Imports and traces make objects by the hundred thousand that stay: looking through them again
    # and again took a twentieth of the time to a first answer.
    gc.set_threshold(100_000, 50, 50)
    import lvm_jax
    from lvm_jax import image_record, progress_bar
    from lvm_jax.conversion import stored_model
    from lvm_jax.generation.jobs import batch

    known = jobs_for(_ANY_ROOM)
    batch.check(known)
    tokenizer = lvm_jax.load_tokenizer(pair.tokenizer)
    found = stored_model.find(pair.model, options.step, ema=options.ema)
    reading = image_record.config_for(found.images, pair.model, options.changes())
    if len(known) == 1 and known[0].drawing.form != "clip":
        # Of a file of prompts the others go on; here nothing else would be left to do.
        batch.check_readable(dataclasses.replace(known[0], reading=reading), tokenizer.image_size)
    room = found.config.context // tokenizer.tokens_per_image - 1
    jobs = [dataclasses.replace(job, reading=reading) for job in jobs_for(room)]
    batch.check_room(jobs, found.config.context, tokenizer.tokens_per_image)
    model = lvm_jax.load_model(
        pair.model,
        step=options.step,
        ema=options.ema,
        dtype=options.dtype,
        tokenizer=tokenizer,
    )
    todo = batch.pending(jobs, model, tokenizer, overwrite=overwrite)
    if len(todo) < len(jobs):
        kept = len(jobs) - len(todo)
        print(f"kept {kept} of {len(jobs)} outputs: made before with the same settings")
    finished = []
    with progress_bar.Bar(
        total=len(todo) * jobs[0].answer.num_new_images, unit="image", desc="drawing"
    ) as bar:
        for done in batch.run(model, tokenizer, jobs, todo, progress=bar.update):
            finished.append(done)
            bar.write(_line(done))
    _summarize(finished)


def _line(done: "Finished") -> str:
    """What is said of a job that is over."""
    from lvm_jax.generation.jobs import outputs

    if done.problem:
        return f"{done.job.where}: no answer: {done.problem}"
    first, *others = outputs.paths(done.job)
    wrote = f"wrote {first}" + f" and {len(others)} more" * bool(others)
    if not done.psnr.size:
        return wrote
    of_each = done.psnr.mean(axis=1)
    best = f", best candidate {of_each.max():.2f}" if len(of_each) > 1 else ""
    return f"{wrote}: PSNR {of_each.mean():.2f} dB{best}"


def _summarize(finished: Sequence["Finished"]) -> None:
    """The mean over the jobs with targets.

    Raises:
        RuntimeError: some jobs have no answer.
    """
    measured = [float(done.psnr.mean()) for done in finished if done.psnr.size]
    if len(measured) > 1:
        mean = sum(measured) / len(measured)
        print(f"PSNR {mean:.2f} dB, mean of {len(measured)} answers with a target")
    problems = [done for done in finished if done.problem]
    if problems:
        raise RuntimeError(
            f"{len(problems)} of {len(finished)} prompts have no answer, first "
            f"{problems[0].job.where}: {problems[0].problem}; mend them and run this again: what "
            "is written is kept"
        )


if __name__ == "__main__":
    cli.run(
        {
            "--images": one_prompt,
            "--input_file": many_prompts,
            "--frames": continuation,
            "--prompt": saved_prompt,
        },
        words="images",
    )
