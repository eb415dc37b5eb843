"""A pair as it ships: rounded, written, and compared with what was trained."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np

import lvm_jax
from lvm_jax.conversion import export, stored_model
from lvm_jax.images import ImageConfig
from lvm_jax.model.transformer_config import ComputeType
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.storage import paths
from lvm_jax.tokenizer import codec
from lvm_jax.tokenizer.codec import Tokenizer
from studies import measure, plan

MODEL, TOKENIZER = "model", "tokenizer"
# Rounding the study's tokenizer to bfloat16 leaves 99% of the ids as they were.
_LEAST_SAME_IDS = 0.97
# Nats per id by which the true answers of a task may be less probable than to what was trained.
_MOST_LOST = 0.02
_PICTURES_PER_FOLDER = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """How a pair that was rounded differs from what was trained.

    Attributes:
        same_ids: share of the ids of held-out pictures that the tokenizers have in common.
        pictures: of these.
        nats: task -> [before, after], of the true answer per id.
        prompts: of each task.
    """

    same_ids: float
    pictures: int
    nats: dict[str, list[float]]
    prompts: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained.

    Attributes:
        model: workdir.
        tokenizer: directory.
        corpus: of pictures; held-out ones are looked at.
    """

    model: pathlib.Path
    tokenizer: pathlib.Path
    corpus: pathlib.Path

    def write(
        self, out: pathlib.Path, model: ComputeType, tokenizer: codec.StoredType, name: str
    ) -> tuple[float, int]:
        """Writes OUT/model and OUT/tokenizer.

        Args:
            out: a directory without these.
            model, tokenizer: types of their matrices, and of all parameters.
            name: what is said of where the model comes from, instead of a path of this machine.

        Returns:
            `Checked.same_ids` and the number of pictures.

        Raises:
            ValueError: the tokenizer is not the model's, or its ids become others.
        """
        given = lvm_jax.load_tokenizer(self.tokenizer)
        known = stored_model.find(self.model).tokenizer_fingerprint
        if known != given.fingerprint:
            raise ValueError(
                f"{self.model} was trained on ids of tokenizer {known[:12] or 'unknown'}, and "
                f"{self.tokenizer} is {given.fingerprint[:12]}; name the tokenizer of its shards"
            )
        place = out / TOKENIZER
        codec.save_tokenizer(place, given.config, given.params, given.images, dtype=tokenizer)
        kept = lvm_jax.load_tokenizer(place)
        same, number = same_ids(given, kept, self.corpus)
        if same < _LEAST_SAME_IDS:
            raise ValueError(
                f"in {tokenizer} the tokenizer keeps {same:.1%} of its ids, less than "
                f"{_LEAST_SAME_IDS:.0%}; use --tokenizer_dtype=float32"
            )
        prepared = export.prepare(self.model, export.ExportConfig(dtype=model))
        source = prepared.config["source"] | {
            "directory": name,
            "tokenizer_fingerprint": given.fingerprint,
            "same_ids": round(same, 4),
        }
        config = prepared.config | {"source": source, "tokenizer_fingerprint": kept.fingerprint}
        export.write(dataclasses.replace(prepared, config=config), out / MODEL)
        return same, number

    def compare(self, out: pathlib.Path, prompts: int) -> dict[str, list[float]]:
        """Task -> nats per id of the true answer, as trained and as written to `out`.

        Args:
            out: from `write`.
            prompts: of each task.

        Raises:
            ValueError: what is written gives the answers less probability.
        """
        trained, kept = (
            _nats(directory, tokenizer, self.corpus, prompts)
            for directory, tokenizer in (
                (self.model, self.tokenizer),
                (out / MODEL, out / TOKENIZER),
            )
        )
        both = {task: [trained[task], kept[task]] for task in trained}
        for task, (before, after) in both.items():
            if not after - before <= _MOST_LOST:  # NaN neither
                raise ValueError(
                    f"{task}: {after:.4f} nats per id of the true answer, and {before:.4f} before "
                    "the parameters were rounded; use --dtype=float32"
                )
        return both


def same_ids(one: Tokenizer, other: Tokenizer, corpus: pathlib.Path) -> tuple[float, int]:
    """(share of ids in common, number of pictures), on held-out pictures of every folder.

    Raises:
        ValueError: the corpus has none.
    """
    folders: dict[pathlib.Path, list[pathlib.Path]] = {}
    for path in sorted((corpus / "held_out").rglob("*.png")):
        folders.setdefault(path.parent, []).append(path)
    # Of the folders of a model each has some views; a few models say enough.
    chosen = [path for files in _thinned(folders.values()) for path in files]
    if not chosen:
        raise ValueError(f"{corpus} has no pictures in held_out; name the study's corpus")
    loader = SquareLoader(one.images or ImageConfig(), one.image_size)
    images = np.stack([loader.load_one(ImageRef(path=str(path))) for path in chosen])
    return float((one.encode(images) == other.encode(images)).mean()), len(chosen)


def _thinned(folders: Iterable[list[pathlib.Path]]) -> list[list[pathlib.Path]]:
    listed = [files[:_PICTURES_PER_FOLDER] for files in folders]
    return listed[:: max(1, len(listed) // 40)]


def _nats(
    model: pathlib.Path, tokenizer: pathlib.Path, corpus: pathlib.Path, prompts: int
) -> dict[str, float]:
    codes = lvm_jax.load_tokenizer(tokenizer)
    with tempfile.TemporaryDirectory(prefix="lvm_jax_") as folder:
        asked = measure.Asked(
            model=lvm_jax.load_model(model, tokenizer=codes),
            tokenizer=codes,
            root=corpus,
            parts=pathlib.Path(folder),
            num_prompts=prompts,
        )
        found = asked.answers((plan.SHOTS,))
    shots = str(plan.SHOTS)
    return {name: task["by_length"][shots]["nll"][0] for name, task in found.items()}


def smoke(out: pathlib.Path, corpus: pathlib.Path) -> float:
    """One answer, as a newcomer asks for it: to an analogy of held-out pictures.

    Args:
        out: the pair.
        corpus: its pictures.

    Returns:
        Its mean squared error, of pixels in [0, 1].

    Raises:
        ValueError: there is no such picture, or the answer is all one color.
    """
    shown = sorted((corpus / "held_out" / "emoji_3d").glob("*.png"))[:3]
    pairs = [(path, corpus / "held_out" / "emoji_mask" / path.name) for path in shown]
    if len(pairs) < 3 or not all(answer.is_file() for _, answer in pairs):
        raise ValueError(f"{corpus} lacks held-out emoji_3d with emoji_mask to ask about")
    prompt = [str(path) for pair in pairs for path in pair][:-1]
    tokenizer = lvm_jax.load_tokenizer(out / TOKENIZER)
    model = lvm_jax.load_model(out / MODEL, tokenizer=tokenizer)
    answer = lvm_jax.generate(model, tokenizer, prompt, images_per_example=2)[0, 0]
    if not (np.isfinite(answer).all() and answer.std() > 0):
        raise ValueError("the pair answers with a picture of one color; it must not ship")
    loader = SquareLoader(model.images or ImageConfig(), tokenizer.image_size)
    truth = loader.load_one(ImageRef(path=str(pairs[-1][1])))
    return float(np.mean((answer - truth / 255.0) ** 2))


def loader(out: pathlib.Path) -> SquareLoader:
    """Reads pictures as a written pair does."""
    tokenizer = lvm_jax.load_tokenizer(out / TOKENIZER)
    return SquareLoader(tokenizer.images or ImageConfig(), tokenizer.image_size)


def size(folder: pathlib.Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in paths.path(folder).rglob("*") if path.is_file())


def about(folder: pathlib.Path) -> dict[str, Any]:
    """What a card says of the networks themselves."""
    tokenizer = lvm_jax.load_tokenizer(folder / TOKENIZER)
    model = stored_model.find(folder / MODEL).config
    return {
        "parameters": model.num_parameters,
        "width": model.hidden_dim,
        "layers": model.num_layers,
        "context": model.context,
        "image_size": tokenizer.image_size,
        "tokens_per_image": tokenizer.tokens_per_image,
        "codes": tokenizer.num_codes,
        "fingerprint": tokenizer.fingerprint[:16],
    }
