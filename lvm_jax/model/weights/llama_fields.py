"""A LLaMA's config.json <-> our sizes, ids and framing.

The field names are those of transformers; EasyLM's are the same but for the context's. What our
network cannot do is refused by name: a checkpoint that loads wrongly is worse than none.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from absl import logging

from lvm_jax import configs
from lvm_jax.configs import ConfigError
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.vocabulary import Framing, Vocabulary

OWN = "lvm_jax"
"""The field in which our exports keep what config.json has no other field for."""

_LVM = Vocabulary()
_SIZES = {
    "hidden_size": "hidden_dim",
    "intermediate_size": "mlp_dim",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
}
_CONTEXTS = ("max_position_embeddings", "max_sequence_length")
# What every field that changes the network must be; a missing or null one is so.
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama", "mistral"),
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "sliding_window": (),
    "partial_rotary_factor": (1, 1.0),
    "quantization_config": (),
    "logit_scale": (1, 1.0),
}
_KNOWN = (
    *_SIZES,
    *_CONTEXTS,
    *_REQUIRED,
    *("vocab_size", "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta"),
    *("rope_scaling", "rope_parameters", "initializer_range", "tie_word_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype", OWN),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """What a checkpoint says beside its numbers.

    Attributes:
        config: sizes; the vocabulary is what the fields say, see `fitting_vocabulary`.
        framing: of the sentences.
        tied: whether the head is the embedding's table.
        about: further entries of an lvm_jax model's config.json.
    """

    config: TransformerConfig
    framing: Framing
    tied: bool = False
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read(fields: Mapping[str, Any], where: str, num_codes: int | None = None) -> Described:
    """Our terms for a LLaMA's fields.

    Args:
        fields: of a config.json.
        where: what errors call it.
        num_codes: ids that are codes, where the fields do not say it.

    Raises:
        ValueError: a field is missing, or says what our network is not; names it and its value.
    """
    _refuse_unsupported(fields, where)
    own = fields.get(OWN)
    own = own if isinstance(own, Mapping) else {}
    sizes = {ours: _integer(fields, theirs, where) for theirs, ours in _SIZES.items()}
    kv_heads = _integer(fields, "num_key_value_heads", where, sizes["num_heads"])
    context = next((name for name in _CONTEXTS if fields.get(name) is not None), _CONTEXTS[0])
    vocabulary = _vocabulary(fields, own, where, num_codes)
    values: dict[str, Any] = {
        **sizes,
        "num_kv_heads": 0 if kv_heads == sizes["num_heads"] else kv_heads,
        "vocabulary": vocabulary,
        "context": _integer(fields, context, where, 2048),
        "rope_theta": _rope_theta(fields, where),
        "rope_table": own.get("rope_table", "float32"),
        "norm_eps": _number(fields, "rms_norm_eps", where, 1e-6),
        "init_scale": _number(fields, "initializer_range", where, 0.02),
    }
    try:
        config = configs.build(TransformerConfig, values, where)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    head_dim = _integer(fields, "head_dim", where, config.head_dim)
    if head_dim != config.head_dim:
        raise ValueError(
            f"{where}: head_dim={head_dim} must be hidden_size / num_attention_heads = "
            f"{config.head_dim}; this network cannot be another"
        )
    return Described(
        config=config,
        framing=_framing(fields, vocabulary, where),
        tied=fields.get("tie_word_embeddings") is True,
        about={key: value for key, value in own.items() if key not in ("vocabulary", "rope_table")},
    )


def write(described: Described, rows: int, dtype: str) -> dict[str, Any]:
    """The config.json of a LlamaForCausalLM.

    Args:
        described: the model.
        rows: ids that the embedding and the head have a row for.
        dtype: of the numbers, as numpy calls it.
    """
    config, framing = described.config, described.framing
    vocabulary = config.vocabulary
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": rows,
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": config.init_scale,
        "pretraining_tp": 1,
        "tie_word_embeddings": False,
        "use_cache": True,
        "torch_dtype": dtype,
        # Said even where there is none: LLaMA's own defaults, 1 and 2, are codes.
        "bos_token_id": vocabulary.bos if framing.bos else None,
        "eos_token_id": vocabulary.eos if framing.eos else None,
        "pad_token_id": vocabulary.pad,
        OWN: {
            "vocabulary": configs.to_dict(vocabulary),
            "rope_table": config.rope_table,
            **described.about,
        },
    }


def write_generation(described: Described, rows: int) -> dict[str, Any]:
    """The generation_config.json beside it: no code ends a generation, no special id is drawn."""
    fields = write(described, rows, "float32")
    return {
        **{key: fields[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "suppress_tokens": list(range(described.config.vocabulary.num_codes, rows)),
    }


def refuse_misspelled(fields: Mapping[str, Any], where: str) -> None:
    """Refuses a field that is nearly one of those that are read.

    Raises:
        ValueError: names both.
    """
    for name in fields:
        near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.85)
        if near and name not in _KNOWN:
            raise ValueError(f"{where}: unknown field {name}; did you mean {near[0]}?")


def fitting_vocabulary(vocabulary: Vocabulary, rows: int, where: str) -> Vocabulary:
    """The vocabulary of a table that has `rows` rows, where another was expected.

    A table may be padded, or have more or fewer special ids than the fields say.

    Args:
        vocabulary: what the fields say.
        rows: of the embedding.
        where: what errors and the log call the table.

    Raises:
        ValueError: there are not even the codes.
    """
    if rows == vocabulary.size or _is_padded(vocabulary.size, rows):
        return vocabulary
    if rows < vocabulary.num_codes:
        raise ValueError(
            f"{where} has {rows} rows, fewer than the {vocabulary.num_codes} codes of the "
            "vocabulary; say how many of its ids are codes with --num_codes"
        )
    num_special = max(3, rows - vocabulary.num_codes)
    logging.warning(
        "%s has %d rows, not %d: of its ids %d are codes and %d special",
        where,
        rows,
        vocabulary.size,
        vocabulary.num_codes,
        num_special,
    )
    return _built(vocabulary.num_codes, num_special, f"{where}: {rows} rows")


def _is_padded(size: int, rows: int) -> bool:
    """Whether a table has as many rows as its ids, rounded up as such tables are."""
    return any(-(-size // multiple) * multiple == rows for multiple in (2**n for n in range(11)))


def _refuse_unsupported(fields: Mapping[str, Any], where: str) -> None:
    for name, accepted in _REQUIRED.items():
        value = fields.get(name)
        if value is None or value in accepted or (not accepted and value is False):
            continue
        must = " or ".join(map(repr, accepted)) or "null"
        raise ValueError(f"{where}: {name}={value!r} must be {must}; this network has no other")
    for name in ("rope_scaling", "rope_parameters"):
        scaling = fields.get(name)
        if not isinstance(scaling, Mapping):
            continue
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind != "default":
            raise ValueError(f"{where}: {name} of type {kind!r} must be null; RoPE is not scaled")


def _vocabulary(
    fields: Mapping[str, Any], own: Mapping[str, Any], where: str, num_codes: int | None
) -> Vocabulary:
    size = _integer(fields, "vocab_size", where)
    if num_codes is None and isinstance(own.get("vocabulary"), Mapping):
        kept = configs.build_stored(Vocabulary, own["vocabulary"], f"{where}: {OWN}.vocabulary")
        if size == kept.size or _is_padded(kept.size, size):
            return kept
        logging.warning(
            "%s: vocab_size=%d is no longer what %s.vocabulary says (%d codes and %d special ids)",
            *(where, size, OWN, kept.num_codes, kept.num_special),
        )
        num_codes = kept.num_codes
    if num_codes is None and size >= _LVM.num_codes:
        num_codes = _LVM.num_codes
    elif num_codes is None:
        num_codes = size - 3
        logging.warning(
            "%s: vocab_size=%d does not say which ids are codes: taken as %d and three special "
            "ids; --num_codes says otherwise",
            *(where, size, num_codes),
        )
    if num_codes > size:
        raise ValueError(f"{where}: vocab_size={size} has no room for {num_codes} codes")
    return _built(num_codes, max(3, size - num_codes), f"{where}: vocab_size={size}")


def _built(num_codes: int, num_special: int, where: str) -> Vocabulary:
    try:
        return Vocabulary(num_codes=num_codes, num_special=num_special)
    except ConfigError as error:
        raise ValueError(f"{where} cannot be a vocabulary here: {error}") from error


def _framing(fields: Mapping[str, Any], vocabulary: Vocabulary, where: str) -> Framing:
    """Ids that begin and end sentences, where they are ours; codes in their place mean nothing."""
    given = {}
    for name, ours in (("bos", vocabulary.bos), ("eos", vocabulary.eos)):
        value = fields.get(f"{name}_token_id")
        given[name] = value == ours
        if isinstance(value, int) and value >= vocabulary.num_codes and value != ours:
            logging.warning(
                "%s: %s_token_id=%d is not the id that frames sentences here (%d): sentences are "
                "taken as having none",
                *(where, name, value, ours),
            )
    return Framing(**given)


def _rope_theta(fields: Mapping[str, Any], where: str) -> float:
    inside = fields.get("rope_parameters")
    if fields.get("rope_theta") is None and isinstance(inside, Mapping):
        return _number(inside, "rope_theta", where, 1e4)
    return _number(fields, "rope_theta", where, 1e4)


def _integer(fields: Mapping[str, Any], name: str, where: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"{where}: {name} is missing; it says the network's size")
    if type(value) is not int:
        raise ValueError(f"{where}: {name}={value!r} must be an integer")
    return value


def _number(fields: Mapping[str, Any], name: str, where: str, default: float) -> float:
    value = fields.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: {name}={value!r} must be a number")
    return float(value)
