r"""A page for visual prompting, in a browser.

  python tools/demo.py --model=DIR --tokenizer=DIR
  python tools/demo.py --pretrained=uvd_mini

Example pairs and a query give answers that appear while they are made; frames or a video go on;
a query can be drawn; a gallery has ready prompts. It needs gradio: pip install 'lvm_jax[demo]'.

The page listens on this machine alone. --host lets others reach it, and then wants --auth, which is
a file with a line user:password for each user (or user:password itself, which other users of this
machine can see). What is uploaded lies in a temporary folder that only you can read; it is removed
when a browser's tab is closed, and with the page.

A prompt can be saved as a file, which tools/generate.py --prompt=FILE answers in the same way.
"""

import dataclasses
from typing import Literal

import cli
from lvm_jax import configs
from model_options import ModelOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Which model, and who may use it.

    Attributes:
        gallery: folder of prompt files (.json; a file order.txt may name those that come first) or
            of shards; by default the prompts that ship with the pair, or the held-out shards that a
            training names.
        host: name or address to listen on; others than this machine's own need --auth.
        port: to listen on.
        auth: file with a line user:password for each user.
        step: checkpoint of a training; by default the newest whole one.
        ema: take the training's average of its parameters.
        dtype: what the model computes in; by default what its config.json says.
        batch_size: candidates drawn at a time; the page shows and stops after so many.
    """

    gallery: str | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    auth: str | None = None
    step: int | None = None
    ema: bool = False
    dtype: Literal["float32", "bfloat16"] | None = None
    batch_size: int = 4

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "batch_size")


def main(options: Options) -> None:
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.demo import addresses

    pair = options.pair()
    users = addresses.users_of(options.auth)
    address = addresses.Address(host=options.host, port=options.port, users=users)
    addresses.require_gradio()
    address.require_free()

    import lvm_jax
    from lvm_jax import image_record
    from lvm_jax.demo import examples, serving
    from lvm_jax.demo.answering import Answerer

    print("loading the model", flush=True)
    tokenizer = lvm_jax.load_tokenizer(pair.tokenizer)
    model = lvm_jax.load_model(
        pair.model,
        step=options.step,
        ema=options.ema,
        dtype=options.dtype,
        tokenizer=tokenizer,
    )
    reading = image_record.config_for(model.images, pair.model)
    answerer = Answerer(model, tokenizer, reading, at_once=options.batch_size)
    folder = options.gallery or pair.prompts
    gallery = examples.find(folder, pair.model, tokenizer, answerer.limits)
    with serving.served(answerer, gallery, address) as place:
        print(f"open {place} (Ctrl-C ends it)", flush=True)
        serving.wait_for_the_end()


if __name__ == "__main__":
    cli.run(main)
