"""Fields of other servers' APIs: vLLM's, llama-server's, Ollama's, TGI's.

Those with a meaning of ours are read as our field. The others are of three classes. What must be honoured, since the
answer would be another, is refused by name unless its value asks for nothing. A wish is taken, without effect, and the
response says so in the header `X-Edgefc-Warning`. Everything else is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefc.errors import RequestError
from edgefc.tools.schemas import list_of, without_nulls

Neutral = tuple[Any, ...]  # values that ask for nothing; null is one always

ALIASES = {
    "repetition_penalty": "repeat_penalty",
    "repeat_last_n": "penalty_last_n",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "guided_grammar": "grammar",
    "random_seed": "seed",
    "stop_sequences": "stop",
}
# Fields that Ollama puts into `options`; others there are about loading a model.
_IN_OPTIONS = {
    "temperature", "top_k", "top_p", "min_p", "seed", "stop", "num_predict", "repeat_penalty", "repeat_last_n",
    "presence_penalty", "frequency_penalty", "mirostat", "typical_p", "tfs_z",
}  # fmt: skip
# Fields that demand a form of the answer, each as a response format.
_FORMATS = ("guided_json", "guided_choice", "guided_regex", "guided_json_object", "structured_outputs", "format")
_STRUCTURED = {"json": "guided_json", "choice": "guided_choice", "regex": "guided_regex", "grammar": "grammar",
               "json_object": "guided_json_object"}  # fmt: skip

MUST_BE_HONOURED: Mapping[str, Neutral] = {
    # sampling
    "min_tokens": (0,), "ignore_eos": (False,), "mirostat": (0,), "typical_p": (1, 0), "typical": (1, 0),
    "tfs_z": (1, 0), "xtc_probability": (0,), "dry_multiplier": (0,), "dynatemp_range": (0,), "top_n_sigma": (-1, 0),
    "top_a": (0,), "smoothing_factor": (0,), "epsilon_cutoff": (0,), "eta_cutoff": (0,), "penalize_nl": (False,),
    "penalty_alpha": (0,), "length_penalty": (1, 0), "use_beam_search": (False,), "num_beams": (1,), "best_of": (1,),
    "bad_words": ([],), "bad_words_ids": ([],), "no_repeat_ngram_size": (0,), "allowed_token_ids": (),
    "logits_processors": ([],), "samplers": ([],), "t_max_predict_ms": (0, -1), "decoder_input_details": (False,),
    # the prompt
    "truncate_prompt_tokens": (), "truncate": (), "template": ("",), "chat_template": (), "raw": (False,),
    "images": ([],), "context": ([],), "documents": ([],), "suffix": ("",), "add_generation_prompt": (True,),
    "continue_final_message": (False,), "lora": ([],), "lora_request": (), "mm_processor_kwargs": ({},),
    # the answer
    "echo": (False,), "include_stop_str_in_output": (False,), "skip_special_tokens": (True,), "prompt_logprobs": (0,),
    "n_probs": (0,), "return_full_text": (False,), "guided_whitespace_pattern": (), "structural_tag": (),
    "grammar_lazy": (False,), "grammar_triggers": ([],), "return_token_ids": (False,),
    # other modes
    "audio": (), "modalities": (["text"],), "web_search_options": (), "previous_response_id": (),
}  # fmt: skip

WISHES = (
    "thinking", "reasoning", "reasoning_budget", "thinking_budget", "thinking_budget_tokens", "reasoning_format",
    "thinking_token_budget", "include_reasoning", "cache_control", "verbosity", "prediction", "effort", "speed",
    "context_management", "service_tier", "truncation",
)  # fmt: skip
_IDLE: Mapping[str, Neutral] = {
    "thinking": ({"type": "disabled"}, False), "service_tier": ("auto", "default", "standard", "standard_only"),
    "verbosity": ("medium",), "truncation": ("disabled",), "reasoning_format": ("auto", "none"), "reasoning": ({},),
    "context_management": ({},), "reasoning_budget": (-1,),
}  # fmt: skip


def read_foreign_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with other servers' fields under our names. Raises RequestError where two fields disagree."""
    read = without_nulls(fields)
    if isinstance(options := read.pop("options", None), Mapping):
        read = {**{key: options[key] for key in options if key in _IN_OPTIONS}, **read}
    for alias, name in ALIASES.items():
        if alias in read:
            _put(read, name, read.pop(alias), alias)
    if isinstance(think := read.pop("think", read.pop("enable_thinking", None)), bool):
        kwargs = read.get("chat_template_kwargs")
        read["chat_template_kwargs"] = {"enable_thinking": think, **(kwargs if isinstance(kwargs, Mapping) else {})}
    _read_formats(read)
    return read


def wishes_in(fields: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that are taken without effect."""
    return [
        name for name in WISHES if (value := fields.get(name)) is not None and value not in _IDLE.get(name, ())
    ]  # fmt: skip


def _put(fields: dict[str, Any], name: str, value: Any, alias: str) -> None:
    limits = [limit for limit in (value, fields.get(name)) if isinstance(limit, int | float) and limit > 0]
    if name == "max_tokens" and len(limits) == 2:
        value = fields[name] = min(limits)  # both hold
    if name in fields and fields[name] != value:
        raise RequestError((alias,), f"differs from {name}, which means the same", "Omit one of them.")
    fields[name] = value


def _read_formats(fields: dict[str, Any]) -> None:
    """Replace fields that demand a form by a `response_format`, or by `grammar`."""
    found = {key: fields.pop(key) for key in _FORMATS if key in fields}
    structured = found.pop("structured_outputs", None)
    if structured is not None:
        if not isinstance(structured, Mapping):
            raise RequestError(("structured_outputs",), "must be an object")
        for key, value in structured.items():
            if key in _STRUCTURED and value is not None:
                found.setdefault(_STRUCTURED[key], value)
            elif key == "structural_tag" and value is not None:
                raise RequestError(("structured_outputs", key), "is not supported", "Use json, choice or regex.")
    if "grammar" in found:
        _put(fields, "grammar", found.pop("grammar"), "structured_outputs")
    for key, value in found.items():
        form = _response_format(key, value)
        if form is not None:
            _put(fields, "response_format", form, key)


def _response_format(key: str, value: Any) -> dict[str, Any] | None:
    """Return the response format that a field demands; None: none."""
    if value in ("", False):
        return None
    if key == "guided_choice":
        choices = list_of(value)
        if not choices or not all(isinstance(text, str) and text for text in choices):
            raise RequestError((key,), "must be a list of texts, none of them empty")
        return {"type": "choice", "choices": choices}
    if key == "guided_regex":
        return {"type": "regex", "pattern": value}
    if value is True or value == "json":
        return {"type": "json_object"}
    if isinstance(value, Mapping):
        return {"type": "json_schema", "json_schema": {"schema": dict(value)}}
    raise RequestError((key,), "must be a JSON schema, or 'json'" if key == "format" else "must be a JSON schema")
