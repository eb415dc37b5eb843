r"""Answers visual prompts: images in, new images out.

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

A prompt file is JSON with pictures and settings inside, as the page of tools/demo.py saves it.

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
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import cli
import json_lines
from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from model_options import ModelOptions
from picture_options import ReadingOptions

if TYPE_CHECKING:
    from lvm_jax.generation.answer_config import AnswerConfig
    from lvm_jax.generation.jobs.batch import Finished
    from lvm_jax.generation.jobs.job import Drawing, Job

_LAYOUTS = ("sequence", "analogy")
_ANY_ROOM = 2**31  # while the model is not known
_FRAMES_PER_SECOND = 8.0  # of clips that do not say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answering(ReadingOptions, ModelOptions):
    """Which model answers, how it computes, and what is drawn.

    Attributes:
        include_input: write the prompt's images in front of the new ones.
        original_size: new images get the size and aspect ratio that the last image of the prompt
            had; where it was cropped, the rest is gray.
        scale: how many times their size images are drawn; by default those of a labelled picture
            large enough to see something, others as they are.
        step: checkpoint of a training; by default the newest whole one.
        ema: take the training's average of its parameters.
        dtype: what the model computes in; by default what its config.json says.
        weights: precision of the matrices while codes are drawn; compute is the model's own, others
            need less memory and time and change answers a little.
        cache: precision of the keys and values of what was read.
        batch_size: answers decoded at a time.
    """

    include_input: bool = False
    original_size: bool = False
    scale: int | None = None
    step: int | None = None
    ema: bool = False
    dtype: Literal["float32", "bfloat16"] | None = None
    weights: Literal["compute", "bfloat16", "int8"] = "compute"
    cache: Literal["compute", "bfloat16"] = "compute"
    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "batch_size", "scale")

    def drawing(self, form: Literal["sheet", "grid", "files"]) -> "Drawing":
        """What is written of an answer that is no clip."""
        from lvm_jax.generation.jobs.job import Drawing

        return Drawing(
            form=form,
            include_input=self.include_input,
            original_size=self.original_size,
            scale=self.scale,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking(Answering):
    """What is asked.

    Attributes:
        num_new_images: images to add.
        num_candidates: answers to draw.
        seed: of the drawing.
        temperature: 0 takes the most probable code each time.
        top_k: draw from this many most probable codes; 0: from all.
        top_p: draw from the codes that make up this much probability.
    """

    num_new_images: int = 1
    num_candidates: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "num_new_images", "num_candidates")

    def answer(self, *, drop_oldest: bool, images_per_example: int = 1) -> "AnswerConfig":
        """What is asked of a prompt."""
        from lvm_jax.generation.answer_config import AnswerConfig
        from lvm_jax.generation.sampling import SamplingConfig

        return AnswerConfig(
            num_new_images=self.num_new_images,
            num_candidates=self.num_candidates,
            seed=self.seed,
            sampling=SamplingConfig(
                temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
            ),
            images_per_example=images_per_example,
            drop_oldest=drop_oldest,
            batch_size=self.batch_size,
            weights=self.weights,
            cache=self.cache,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompts(Asking):
    """How prompts are laid out, and what is drawn of their answers.

    Attributes:
        prompt: analogy: example pairs and a query, checked to be odd in number; sequence: any
            images; or a prompt file, see above.
        drop_oldest: a prompt that is too long loses its oldest images (of analogies, whole pairs)
            instead of being refused.
        sheet: draw the prompt, its answers and the truth with labels, or only the answers; by
            default with --images.
        files: write each candidate's every new image into a file of its own.
    """

    prompt: str = "sequence"
    drop_oldest: bool = False
    sheet: bool | None = None
    files: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt not in _LAYOUTS:
            raise ConfigError(
                Field("prompt"),
                f"={self.prompt} must be one of {', '.join(_LAYOUTS)}; a prompt file has its own "
                "pictures and is answered alone",
            )
        _refuse_sheet_of_files(self.sheet, self.files)

    def job(
        self, inputs: Sequence[str], output: str, where: str, *, sheet: bool, **more: Any
    ) -> "Job":
        """The job of one prompt; `sheet` is what it is by default."""
        from lvm_jax.generation.jobs.job import Job, Picture

        per_example = 2 if self.prompt == "analogy" else 1
        answer = self.answer(drop_oldest=self.drop_oldest, images_per_example=per_example)
        with configs.within("", layout="prompt"):
            return Job(
                images=tuple(Picture(path=name) for name in inputs),
                output=output,
                layout="analogy" if self.prompt == "analogy" else "sequence",
                answer=dataclasses.replace(answer, seed=more.pop("seed", self.seed)),
                drawing=self.drawing("files" if self.files else "sheet" if sheet else "grid"),
                where=where,
                **more,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnePrompt(Prompts):
    """One prompt.

    Attributes:
        images: of one prompt, in order: --images a.png b.png c.png ...
        out: picture to write, or with --frames a GIF, a video such as .mp4, or a folder.
    """

    images: tuple[str, ...]
    out: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyPrompts(Prompts):
    """A file of prompts.

    Attributes:
        input_file: many prompts, one JSON line each.
        overwrite: replace outputs that were made with other settings, or by others.
    """

    input_file: str
    overwrite: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedPrompt(Answering):
    """A prompt file.

    Attributes:
        prompt: file with pictures and settings, as the page of tools/demo.py saves it.
        out: picture to write.
        sheet: draw the prompt, its answers and the truth with labels (the default), or only the
            answers.
        files: write each candidate's every image into a file of its own.
    """

    prompt: str
    out: str
    sheet: bool | None = None
    files: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_sheet_of_files(self.sheet, self.files)


def _refuse_sheet_of_files(sheet: bool | None, files: bool) -> None:
    if files and sheet:
        raise ValueError("--sheet draws one picture and --files one for each image; drop one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation(Asking):
    """A clip.

    Attributes:
        frames: clip to continue: a video, a GIF, a folder, a pattern, or pictures with commas
            between.
        out: a GIF, a video such as .mp4, or a folder of frames.
        num_frames: frames of the prompt; by default as many as fit beside a new one.
        start: the first of them, from 0; by default those that the clip ends with.
        stride: frames of the clip from one to the next.
        fps: frames per second of --out; by default the clip's own by the stride.
        overwrite: replace a folder's frames that were made with other settings, or by others.
    """

    frames: str
    out: str
    num_frames: int | None = None
    start: int | None = None
    stride: int = 1
    fps: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "num_frames", "stride")
        configs.require_at_least(self, 0, "start")


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

    if options.prompt in _LAYOUTS:
        raise ValueError(f"--prompt={options.prompt} needs --images or --input_file")
    prompt = prompt_files.read(options.prompt)
    pictures = lambda paths: tuple(Picture(path=path) for path in paths)
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
