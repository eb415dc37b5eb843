"""The page as somebody uses it: every tab to its answer, what goes wrong, cancelling, a phone."""

import json
import os
import pathlib
import re
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.demo import serving
from lvm_jax.demo.addresses import Address
from lvm_jax.generation import answers
from lvm_jax.generation.jobs import prompt_files
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile
from tests.demo import browsing

# Those of the server's libraries are not ours to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
PATIENCE_MS = 300_000  # of a machine that does other things too, and compiles
# A file as whoever drops or pastes it has it.
CARRIED = """async ([name, url]) => {
  const carried = new DataTransfer();
  const content = await (await fetch(url)).blob();
  carried.items.add(new File([content], name, { type: "image/png" }));
  return carried;
}"""
PASTE = """(carried) =>
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried }))"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def made_of(files: dict[str, str], names: str, **more) -> PromptFile:
    data = tuple(pathlib.Path(files[name]).read_bytes() for name in names)
    return PromptFile(images=data, **more)


@pytest.fixture(scope="module")
def gallery(files):
    truth = (pathlib.Path(files["d"]).read_bytes(),)
    asked = Asked(num_candidates=2, seed=4)
    credited = {"title": "an analogy", "attribution": "drawn by somebody"}
    asked_frames = Asked(num_new_images=3, num_candidates=2)
    return [
        made_of(files, "abc", targets=truth, layout="analogy", answer=asked, **credited),
        made_of(files, "ab", targets=truth, answer=asked_frames, title="a sequence"),
    ]


@pytest.fixture(scope="module")
def address(answerer, gallery):
    browsing.require()
    with serving.served(answerer, gallery, Address(port=free_port())) as place:
        yield place


@pytest.fixture(scope="module")
def browser():
    sync_playwright, program = browsing.require()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser, address):
    """open_page(width) -> the page in a window of its own, which asks no other server anything."""
    contexts, elsewhere = [], []

    def opened(width=1366, height=900):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda sent: elsewhere.append(sent.url))
        page.goto(address)
        # What fits is said when the server has heard of the session.
        said(page, "#analogy-limits", "of 4 pictures")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url for url in elsewhere if not url.startswith((address, "data:", "blob:"))} == set()


def said(page, place: str, text: str) -> str:
    """Waits until a line says something."""
    page.locator(place).filter(has_text=re.compile(text)).wait_for()
    return page.locator(place).inner_text()


def give(page, place: str, path) -> None:
    page.locator(f"{place} input[type=file]").first.set_input_files(path)


def carried(page, path: str):
    data = pathlib.Path(path).read_bytes()
    return page.evaluate_handle(CARRIED, [pathlib.Path(path).name, prompt_files.as_url(data)])


def drop(page, place: str, path: str) -> None:
    target, data = page.locator(f"{place} button").first, carried(page, path)
    for event in ("dragenter", "dragover", "drop"):
        target.dispatch_event(event, {"dataTransfer": data})


def paste(page, place: str, path: str) -> None:
    page.locator(place).hover()
    page.evaluate(PASTE, carried(page, path))


def show(page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    page.get_by_role("tab", name=tab, selected=True).wait_for()


def is_narrow(page, width: int) -> bool:
    """Whether the page can be seen without moving it sideways, once it has taken its shape."""
    page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
    return page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_analogy_to_its_answer(open_page, files):
    page = open_page()
    assert "2 pairs" not in page.locator("#analogy-limits").inner_text()  # one fits
    # Each in another way.
    for way, place, name in (
        (give, "input-1", "a"),
        (drop, "output-1", "b"),
        (paste, "query", "c"),
        (give, "truth", "d"),
    ):
        way(page, f"#{place}", files[name])
        page.locator(f"#{place} img").wait_for()
    page.locator("#analogy-run").click()
    line = said(page, "#analogy-status", "4 of 4 images in")
    assert "The truth has a perplexity of" in line
    captions = page.locator("#answers .caption-label").all_inner_texts()
    worth = [float(re.search(r"perplexity ([\d.]+)", caption).group(1)) for caption in captions]
    assert len(worth) == 4 and worth == sorted(worth)
    assert all(caption.endswith("dB") for caption in captions)
    page.locator("#look").click()
    page.locator("#seen .caption-label").nth(3).wait_for()
    assert page.locator("#seen .caption-label").nth(2).inner_text().startswith("query, ")
    page.locator("#save").click()
    with page.expect_download() as download:
        page.locator("#prompt-file a").first.click()
    prompt = prompt_files.read(download.value.path())
    assert (prompt.layout, len(prompt.images), len(prompt.targets)) == ("analogy", 3, 1)
    page.locator("#remove-1").click()
    said(page, "#analogy-limits", "0 pairs, the query")
    page.locator("#add-pair").click()
    said(page, "#analogy-limits", "1 pair, the query")
    assert page.locator("#input-1 img").count() == 0


def test_a_file_that_is_no_picture(open_page, files):
    page = open_page()
    for name, sentence in (
        ("text", "not an image"),
        ("huge", "more than 64 megapixels; make it smaller"),
    ):
        give(page, "#query", files[name])
        line = said(page, "#analogy-status", sentence)
        assert "\n" not in line and str(pathlib.Path(files[name]).parent) not in line
        page.wait_for_function("document.querySelectorAll('#query img').length === 0")
    page.locator("#analogy-run").click()
    said(page, "#analogy-status", "The query is missing")


def test_a_sequence_from_the_gallery_to_its_clip(open_page):
    page = open_page()
    show(page, "Gallery")
    page.locator("#example-2").click()
    said(page, "#sequence-status", "a sequence")
    said(page, "#sequence-limits", "2 frames to go on from, 2 used as the prompt")
    page.locator("#sequence-run").click()
    said(page, "#sequence-status", "6 of 6 images in")
    page.locator("#strip img").wait_for()
    with page.expect_download() as download:
        page.locator("#clips a").first.click()
    assert pathlib.Path(download.value.path()).read_bytes().startswith(b"GIF8")


def test_a_sketch_becomes_the_query_of_an_analogy(open_page, files):
    page = open_page(width=500, height=600)  # few pixels: they are drawn without a GPU
    show(page, "Gallery")
    page.locator("#example-1").click()
    said(page, "#analogy-status", "an analogy")
    show(page, "Sketch")
    page.locator("#canvas .visible canvas").first.wait_for()  # before that it does not hear
    give(page, "#canvas", files["a"])
    page.locator("#canvas").get_by_text("Upload an image").wait_for(state="hidden")
    box = page.locator("#canvas canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 30, y)
    page.mouse.down()
    page.mouse.move(x + 30, y, steps=4)
    page.mouse.up()
    page.get_by_label("Mask: your strokes alone, white on black").check()
    page.locator("#use-sketch").click()
    page.locator("#query").wait_for(state="visible")
    page.locator("#analogy-run").click()
    line = said(page, "#analogy-status", "2 of 2 images in")
    assert "The truth" not in line  # which was that of the query before


def test_a_cancelled_answer_stops_computing_and_lets_others_go_on(open_page, monkeypatch):
    """The model waits in the middle until the page has heard of the cancel."""
    page, other, goes_on, drawn = open_page(), open_page(), threading.Event(), []
    stream = answers.id_stream

    def slow(*args, **options):
        for part in stream(*args, **options):
            if drawn:
                goes_on.wait(PATIENCE_MS / 1000)
            drawn.append(part.index)
            yield part

    monkeypatch.setattr(answers, "id_stream", slow)
    for somebody in (page, other):
        show(somebody, "Gallery")
        somebody.locator("#example-1").click()
        said(somebody, "#analogy-status", "an analogy")
    number = page.get_by_label("number input for Candidates").first
    number.fill("16")
    number.press("Enter")
    page.locator("#analogy-run").click()
    said(page, "#analogy-status", "2 of 16 images")
    other.locator("#analogy-run").click()
    said(other, "#analogy-status", "queue: 1/1")
    page.locator("#analogy-cancel").click()
    said(page, "#analogy-status", "Cancelling")
    goes_on.set()
    said(page, "#analogy-status", "Cancelled: 4 of 16 images are here")
    said(other, "#analogy-status", "2 of 2 images in")
    assert len(drawn) == 2 + 1  # of eight rounds, and of the other's one
    page.locator("#analogy-run:enabled").wait_for()


def test_a_phone(open_page):
    page = open_page(width=390, height=844)
    for tab in ("Gallery", "Sequence", "Sketch", "Analogy"):
        show(page, tab)
        assert is_narrow(page, 390), tab
    page.locator("#try").click()
    said(page, "#analogy-status", "an analogy")
    page.locator("#analogy-run").click()
    said(page, "#analogy-status", "2 of 2 images in")
    page.locator("#answers img").nth(1).wait_for()
    assert is_narrow(page, 390)
    # Answers go with their prompt; a whole card opens one, but for what it says of its pictures.
    show(page, "Gallery")
    page.get_by_text("Whose pictures").click()
    page.get_by_text("drawn by somebody").wait_for()
    page.locator(".thumbnails").first.click(force=True)
    said(page, "#analogy-status", "an analogy. drawn by somebody")
    page.wait_for_function("document.querySelectorAll('#answers img').length === 0")


def test_pairs_change_places():
    browsing.require()
    from lvm_jax.demo.layout import analogy

    pairs = ["a", "b", "c", "d", None, None]
    swap = analogy._swapper(0, 1)
    assert swap(2, *pairs) == ["c", "d", "a", "b", None, None]
    assert swap(1, *pairs) == pairs  # the second is not there


def post(url: str, values: dict) -> dict:
    head = {"Content-Type": "application/json"}
    asked = urllib.request.Request(url, json.dumps(values).encode(), head)
    with urllib.request.urlopen(asked) as answered:
        return json.load(answered)


def test_a_program_asks_as_the_page_does(address, gallery, answerer, model, tokenizer, reader):
    url = f"{address}gradio_api/call/answer"
    event = post(url, {"data": [gallery[0].values()]})["event_id"]
    with urllib.request.urlopen(f"{url}/{event}") as stream:
        lines = stream.read().decode().splitlines()
    complete = lines.index("event: complete")
    (found,) = json.loads(lines[complete + 1].removeprefix("data: "))
    assert found["done"] and found["truth_perplexity"] > 1
    by_number = sorted(found["candidates"], key=lambda candidate: candidate["number"])
    prompt = reader.file(gallery[0])
    expected = answers.generate(
        model, tokenizer, prompt.images, num_candidates=2, seed=4, images_per_example=2
    )
    for candidate, wanted_M in zip(by_number, expected, strict=True):
        (url,) = candidate["images"]
        (read,) = prompt_files.parse({"images": [url]}, "answer").images
        assert read == images.encode_png(images.to_uint8(np.asarray(wanted_M[0])))


def test_nothing_that_was_given_stays(open_page, files):
    page = open_page()
    give(page, "#query", files["a"])
    page.locator("#query img").wait_for()
    root = pathlib.Path(os.environ["GRADIO_TEMP_DIR"])
    assert [path for path in root.rglob("*") if path.is_file() and path.stat().st_size]
    page.context.close()
    over = time.monotonic() + PATIENCE_MS / 1000
    while left := [path for path in root.rglob("*") if path.is_file() and path.stat().st_size]:
        assert time.monotonic() < over, left
        time.sleep(0.2)


def test_others_are_asked_who_they_are(answerer):
    browsing.require()
    address = Address(port=free_port(), users=(("ada", "secret"),))
    with serving.served(answerer, [], address) as place:
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{place}gradio_api/call/answer", {"data": [{}]})
        assert refused.value.code == 401
