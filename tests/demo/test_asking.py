"""What people give -> prompts, or one sentence about what is wrong."""

import json

import numpy as np
import PIL.Image
import pytest

from lvm_jax.demo import sketches, uploads
from lvm_jax.demo.credits import Credits
from lvm_jax.demo.limits import Limits, of_time
from lvm_jax.demo.uploads import UploadError
from lvm_jax.generation.jobs import prompt_files
from lvm_jax.generation.jobs.job import Picture
from lvm_jax.generation.jobs.prompt_files import Asked
from lvm_jax.images import ImageConfig, encode_png
from tests import toys

ASKED = Asked(num_candidates=2, seed=3)


def test_an_analogy_of_files(reader, files):
    prompt = reader.analogy([(files["a"], files["b"]), (None, None)], files["c"], files["d"], ASKED)
    assert prompt.images.shape == (3, 16, 16, 3) and prompt.targets.shape == (1, 16, 16, 3)
    wanted = toys.pixels_of(Picture(path=files["c"]).ref, 16)
    np.testing.assert_array_equal(prompt.images[2], wanted)
    assert prompt.question().config.images_per_example == 2


def test_a_saved_prompt_says_whose_its_pictures_are(reader, files):
    credits = Credits()
    shown = reader.analogy([(files["a"], files["b"])], files["c"], None, ASKED)
    credits.note(shown, "A by B, CC BY")
    # Another query, of the user's own, and then nothing of what was shown.
    partly = reader.analogy([(files["a"], files["b"])], files["d"], None, ASKED)
    assert partly.file(credits.of(partly)).attribution == "A by B, CC BY"
    own = reader.analogy([(files["d"], files["d"])], files["d"], None, ASKED)
    assert credits.of(own) == ""
    credits.note(own, "C, CC0")
    assert credits.of(partly) == "A by B, CC BY; C, CC0"


@pytest.mark.parametrize(
    ("pairs", "query", "message"),
    [
        ([("a", None)], "b", "Example 1 has no output: give it, or remove the row."),
        ([(None, "a")], "b", "Example 1 has no input"),
        ([("a", "b")], None, "The query is missing"),
        ([("a", "b"), ("a", "b")], "c", "A prompt of 5 pictures does not fit"),
        ([("a", "text")], "b", "text.png: not an image"),
        ([("a", "huge")], "b", "huge.png has more than 64 megapixels; make it smaller."),
    ],
)
def test_what_is_wrong_is_one_sentence(reader, files, pairs, query, message):
    given = [tuple(name and files[name] for name in pair) for pair in pairs]
    with pytest.raises(UploadError, match=message) as caught:
        reader.analogy(given, query and files[query], None, ASKED)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert "/" not in str(caught.value)  # nobody is told where files lie here


def test_a_picture_over_the_limit_of_the_page(tmp_path):
    path = tmp_path / "large.png"
    PIL.Image.new("1", (9000, 8000)).save(path)
    with pytest.raises(UploadError, match=r"large\.png has 9000 x 8000 pixels") as caught:
        uploads.read_square(path, ImageConfig(), 16)
    assert "at most 64 megapixels; make it smaller." in str(caught.value)


def test_the_last_frames_that_fit_make_a_sequence(reader, files):
    frames = uploads.frames_of([files[name] for name in "dcba"])
    assert [frame.path for frame in frames] == [files[name] for name in "abcd"]
    prompt = reader.sequence(frames, 1, Asked(num_new_images=2))
    assert len(prompt.images) == 3 and len(prompt.targets) == 1
    assert len(reader.sequence(frames, 0, ASKED).images) == 3  # four do not fit beside a new one
    with pytest.raises(UploadError, match="All 4 frames are held back"):
        reader.sequence(frames, 4, ASKED)
    with pytest.raises(UploadError, match="No frames yet"):
        reader.sequence([], 0, ASKED)


def test_frames_of_an_animation(reader, files, tmp_path):
    path = tmp_path / "clip.gif"
    first, *rest = [PIL.Image.new("RGB", (20, 20), (40 * i, 9, 9)) for i in range(4)]
    first.save(path, save_all=True, append_images=rest, duration=100)
    frames = uploads.frames_of([str(path)])
    assert [frame.frame for frame in frames] == [0, 1, 2, 3]
    assert len(reader.sequence(frames, 0, ASKED).images) == 3
    with pytest.raises(UploadError, match=r"clip\.gif is a clip: give one clip alone"):
        uploads.frames_of([str(path), files["a"]])


def test_a_prompt_file_keeps_a_prompt(reader, files):
    prompt = reader.analogy([(files["a"], files["b"])], files["c"], files["d"], ASKED)
    text = prompt.file().text()
    again = reader.file(prompt_files.loads(text, "prompt.json"))
    np.testing.assert_array_equal(again.images, prompt.images)
    np.testing.assert_array_equal(again.targets, prompt.targets)
    assert again.asked == prompt.asked and again.layout == "analogy"


PNG = prompt_files.as_url(b"x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "p: a prompt is an object"),
        ({"format": 2, "images": [PNG]}, "p: format=2 is not 1"),
        ({"images": []}, "p.images has 0 pictures"),
        ({"images": [PNG], "imges": []}, "unknown key p.imges.*did you mean p.images"),
        ({"images": ["picture.png"]}, "p: images: picture 1 is no data:image"),
        ({"images": [PNG] * 2, "layout": "analogy"}, "p.images has 2 pictures; an analogy"),
        ({"images": [PNG], "targets": [PNG] * 2}, "p.targets has 2 pictures for 1 new"),
        ({"images": [PNG], "answer": {"top_p": 2.0}}, "p.answer.top_p=2.0 must"),
        ({"images": [PNG], "answer": {"seed": "x"}}, "p.answer.seed='x' must be of type int"),
    ],
)
def test_prompt_files_are_strict(values, message):
    with pytest.raises(ValueError, match=message):
        prompt_files.loads(json.dumps(values), "p")


def test_a_prompt_file_whose_picture_is_none(reader, tmp_path):
    with pytest.raises(UploadError, match="image001: not an image"):
        reader.file(prompt_files.parse({"images": [PNG]}, "p"))
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(UploadError, match=r"p\.json is no JSON"):
        uploads.read_prompt(str(tmp_path / "p.json"))


def test_too_much_is_refused(reader):
    with pytest.raises(UploadError, match="17 candidates are too many"):
        square = np.zeros((1, 16, 16, 3), np.uint8)
        made = prompt_files.PromptFile(
            images=(encode_png(square[0]),),
            answer=Asked(num_candidates=17),
        )
        reader.file(made)


def test_limits_are_said():
    limits = Limits(context=288, tokens_per_image=36, image_size=48)
    assert (limits.images, limits.prompt_images, limits.pairs) == (8, 7, 3)
    assert "looks at 8 pictures" in limits.of_model()
    assert limits.of_analogy(2).endswith("6 of 8 pictures, room for 1 more pair.")
    assert limits.of_analogy(3).endswith("8 of 8 pictures, no room for another pair.")
    assert "for the last 2 new the oldest frames make room" in limits.of_sequence(9, 7, 3)
    assert "At most 3 s" in of_time(3.0) and "compiles" in of_time(None)


class TestSketches:
    picture = np.full((8, 8, 4), 200, np.uint8)

    def strokes(self) -> np.ndarray:
        layer = np.zeros((8, 8, 4), np.uint8)
        layer[2:4] = (220, 30, 30, 255)
        return layer

    def test_forms(self):
        opaque = self.picture.copy()
        opaque[..., 3] = 255
        drawn = {form: sketches.query(opaque, [self.strokes()], form) for form in sketches.FORMS}
        assert (drawn["hole"][2] == 0).all() and (drawn["hole"][0] == 200).all()
        assert (drawn["mask"][2] == 255).all() and (drawn["mask"][0] == 0).all()
        assert (drawn["edges"][2] == 255).all() and (drawn["edges"][0] == 0).all()
        assert (drawn["colors"][2] == (220, 30, 30)).all() and (drawn["colors"][0] == 200).all()

    def test_what_is_missing(self):
        with pytest.raises(UploadError, match="something on the canvas"):
            sketches.query(None, [], "mask")
        with pytest.raises(UploadError, match="a picture under it"):
            sketches.query(None, [self.strokes()], "hole")
        with pytest.raises(UploadError, match="Nothing is drawn yet"):
            sketches.query(self.picture, [], "edges")
        assert sketches.query(None, [self.strokes()], "mask").shape == (8, 8, 3)
