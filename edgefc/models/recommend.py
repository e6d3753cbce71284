"""Ranks the models of models.toml that fit into this machine's memory, with the speed to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgefc import gguf
from edgefc.gguf import memory
from edgefc.hardware import Machine
from edgefc.models import inventory, registry, speeds
from edgefc.models.inventory import LocalModel
from edgefc.models.source import SMALL

# Bits per weight, scales included, as llama.cpp's quantizations come out on models of 1 to 8B.
BITS = {"Q8_0": 8.5, "Q4_K_M": 4.9, "Q3_K_M": 3.95, "Q2_K": 3.2}
ORDER = ("Q8_0", "Q4_K_M", "Q3_K_M", "Q2_K")  # as in `source.PREFERENCE`, which gives the reasons
QUICK = 5.0  # tokens per second; below, waiting for a call is tiresome
BYTES_PER_CORE = 1_200_000_000  # of weights that one core decodes at about QUICK, until a speed is measured
CONTEXTS = (32768, 16384, 8192, 4096, 2048)
GENERIC = frozenset({"hermes", "hermes-2-pro", "qwen3", "llama3-json", "mistral", "generic"})
# (billions of parameters below, KV cache bytes of a token at f16): the largest of the catalogue's families.
KV_PER_TOKEN = ((0.7, 24 << 10), (2.0, 36 << 10), (3.9, 112 << 10), (7.9, 128 << 10), (math.inf, 144 << 10))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model, quantization and context that fit.

    memory       bytes to expect: predicted from the file's header when it is here, else an upper estimate
    decode       tokens per second; None when no speed was measured on this machine yet
    is_measured  `decode` was measured with this very file, not derived from another one's speed
    command      the command that fetches the model, or starts it if it is here
    """

    id: str
    command: str
    family: str
    quantization: str
    context: int
    memory: int
    is_here: bool
    decode: float | None
    is_measured: bool
    bfcl: str
    licence: str
    non_commercial: bool


def suggest_models(machine: Machine, context: int | None = None) -> list[Suggestion]:
    """List models that fit, the best first: free to use, quick enough, trained to call functions, then the largest.

    context  in tokens; None stands for the largest that fits
    """
    cards, measured = registry.cards(), speeds.load()
    here = {model.id: model for model in reversed(inventory.models_here(cards))}  # of several, the newest
    suggestions = [
        suggestion
        for card in cards.values()
        if (suggestion := _suggest(card, machine, context, here.get(card.id), measured))
    ]

    def rank(item: Suggestion) -> tuple[object, ...]:
        card = cards[item.id]
        if item.decode is None:
            weights = _weight_bytes(card, item.quantization)
            is_quick = weights <= (machine.gpu_memory or BYTES_PER_CORE * machine.cores)
        else:
            is_quick = item.decode >= QUICK
        # Made for tools, general, or without a format of its own for calls.
        kind = 2 if not item.family else 1 if item.family in GENERIC else 0
        return (card.non_commercial, not is_quick, kind, -card.parameters, item.id)

    return sorted(suggestions, key=rank)


def _suggest(
    card: registry.ModelCard,
    machine: Machine,
    context: int | None,
    here: LocalModel | None,
    measured: list[speeds.Speed],
) -> Suggestion | None:
    if card.embedded or not card.repo:
        return None
    contexts = [min(context, card.context)] if context else [n for n in CONTEXTS if n <= card.context] or [card.context]
    if here is not None:
        header = gguf.read_model(here.path)
        for n_ctx in contexts:
            need = memory.predict(header, n_ctx=n_ctx, n_seq_max=1).total
            if need <= machine.room:
                return _suggestion(card, here.quantization or "as it is", n_ctx, need, here, measured)
        return None
    # A finer quantization is worth more than an unused context: 8192 tokens first, then quantization, then more tokens.
    least = min((n_ctx for n_ctx in contexts if n_ctx >= 8192), default=contexts[0])
    for quantization in ORDER:
        if quantization == "Q8_0" and _weight_bytes(card, "Q8_0") >= SMALL:
            continue
        for n_ctx in [n_ctx for n_ctx in contexts if n_ctx >= least] or contexts:
            need = estimate_memory(card, quantization, n_ctx)
            if need <= machine.room:
                return _suggestion(card, quantization, n_ctx, need, None, measured)
    return None


def estimate_memory(card: registry.ModelCard, quantization: str, context: int) -> int:
    """Estimate the bytes of memory, on the high side, of a model that is not here yet."""
    per_token = next(kv for limit, kv in KV_PER_TOKEN if card.parameters < limit)
    if card.family == "functionary-v1":
        per_token = 512 << 10  # Llama 2 has no grouped KV heads
    return int(_weight_bytes(card, quantization) + per_token * context + (300 << 20))


def _weight_bytes(card: registry.ModelCard, quantization: str) -> float:
    """Estimate the bytes of the weights; an unlisted quantization counts as Q8_0."""
    return card.parameters * 1e9 * BITS.get(quantization, 8.5) / 8


def _suggestion(
    card: registry.ModelCard,
    quantization: str,
    context: int,
    need: int,
    here: LocalModel | None,
    measured: list[speeds.Speed],
) -> Suggestion:
    names = {card.id, here.name, here.path.stem} if here else {card.id}
    own_speed = next((speed.decode for speed in measured if here and speed.name in names), None)
    # Decoding reads all weights for each token, so its rate is inversely proportional to their size.
    size = here.size if here else _weight_bytes(card, quantization)
    derived = max((speed.decode * speed.size / size for speed in measured if speed.size > 1 << 28), default=None)
    return Suggestion(
        id=card.id,
        command=f"edgefc {'chat' if here else 'pull'} {card.id}",
        family=card.family,
        quantization=quantization,
        context=context,
        memory=need,
        is_here=here is not None,
        decode=own_speed or derived,
        is_measured=own_speed is not None,
        bfcl=f"{card.bfcl.score} ({card.bfcl.date})" if card.bfcl else "",
        licence=f"{card.licence}, non-commercial" if card.non_commercial else card.licence,
        non_commercial=card.non_commercial,
    )
