"""Which models suit this machine: what of models.toml fits into its memory, and how fast it will be."""

from __future__ import annotations

from dataclasses import dataclass

from edgefc import gguf
from edgefc.gguf import memory
from edgefc.hardware import Machine
from edgefc.models import registry, speeds, store
from edgefc.models.source import SMALL

# Bits of a weight, scales included, as llama.cpp's quantizations come out on models of 1 to 8B.
BITS = {"Q8_0": 8.5, "Q4_K_M": 4.9, "Q3_K_M": 3.95, "Q2_K": 3.2}
ORDER = ("Q8_0", "Q4_K_M", "Q3_K_M", "Q2_K")  # as `wanted.choose` takes them, which has the reasons
QUICK = 5.0  # tokens per second, below which waiting for a call is no fun
PER_CORE = 1_200_000_000  # bytes of weights for each core that decode about so quickly, until something is measured
CONTEXTS = (32768, 16384, 8192, 4096, 2048)
GENERIC = frozenset({"hermes", "hermes-2-pro", "qwen3", "llama3-json", "mistral", "generic"})
# KV cache of a token at f16, by billions of parameters: the most that models of the catalogue's families take.
KV_PER_TOKEN = ((0.7, 24 << 10), (2.0, 36 << 10), (3.9, 112 << 10), (7.9, 128 << 10), (99.0, 144 << 10))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model, quantization and context that fit.

    memory     bytes, expected; predicted from the file's header when it is here, else an upper estimate
    decode     tokens per second; None: nothing was measured here yet
    is_measured  of this very file, and not worked out from another one's
    """

    id: str
    family: str
    quantization: str
    context: int
    memory: int
    is_here: bool
    decode: float | None
    is_measured: bool
    bfcl: str
    licence: str


def suggestions(here: Machine, context: int | None = None) -> list[Suggestion]:
    """What fits, the best first: quick enough, made for function calling, then as large as fits.

    context  in tokens; None: the largest that fits
    """
    cards, known = registry.cards(), speeds.load()
    stored = {model.id: model for model in reversed(store.stored_models())}  # of several, the newest
    found = [
        suggestion
        for card in cards.values()
        if (suggestion := _suggest(card, here, context, stored.get(card.id), known))
    ]

    def rank(item: Suggestion) -> tuple[object, ...]:
        card = cards[item.id]
        weights = _weights(card, item.quantization)
        if item.decode is None:
            is_quick = weights <= (here.gpu_memory or PER_CORE * here.cores)
        else:
            is_quick = item.decode >= QUICK
        return (not is_quick, item.family in GENERIC, -card.parameters, item.id)

    return sorted(found, key=rank)


def _suggest(
    card: registry.ModelCard,
    here: Machine,
    context: int | None,
    stored: store.StoredModel | None,
    known: list[speeds.Speed],
) -> Suggestion | None:
    if card.embedded or not card.repo:
        return None
    wanted = [min(context, card.context)] if context else [c for c in CONTEXTS if c <= card.context] or [card.context]
    if stored is not None:
        header = gguf.read_model(stored.path)
        for tokens in wanted:
            need = memory.predict(header, n_ctx=tokens, n_seq_max=1).total
            if need <= here.room:
                return _made(card, stored.quantization, tokens, need, stored, known)
        return None
    # A finer quantization is worth more than a context nobody fills: 8192 tokens first, then quantization, then more.
    least = min((tokens for tokens in wanted if tokens >= 8192), default=wanted[0])
    for quantization in ORDER:
        if quantization == "Q8_0" and _weights(card, "Q8_0") >= SMALL:
            continue
        for tokens in [tokens for tokens in wanted if tokens >= least] or wanted:
            need = estimate(card, quantization, tokens)
            if need <= here.room:
                return _made(card, quantization, tokens, need, None, known)
    return None


def estimate(card: registry.ModelCard, quantization: str, context: int) -> int:
    """Bytes that a model will take which is not here yet: an upper estimate from its size."""
    per_token = next(kv for limit, kv in KV_PER_TOKEN if card.parameters < limit)
    if card.family == "functionary-v1":
        per_token = 512 << 10  # Llama 2 shares no KV heads
    return int(_weights(card, quantization) + per_token * context + (300 << 20))


def _weights(card: registry.ModelCard, quantization: str) -> float:
    """Bytes; those of a quantization that is not listed as if it were Q8_0."""
    return card.parameters * 1e9 * BITS.get(quantization, 8.5) / 8


def _made(
    card: registry.ModelCard,
    quantization: str,
    context: int,
    need: int,
    stored: store.StoredModel | None,
    known: list[speeds.Speed],
) -> Suggestion:
    names = {card.id, stored.path.stem} if stored else {card.id}
    own = next((item.decode for item in known if stored and item.name in names), None)
    # Decoding reads all weights for each token: its rate falls as they grow.
    size = stored.size if stored else _weights(card, quantization)
    other = max((item.decode * item.size / size for item in known if item.size > 1 << 28), default=None)
    return Suggestion(
        id=card.id,
        family=card.family,
        quantization=quantization,
        context=context,
        memory=need,
        is_here=stored is not None,
        decode=own or other,
        is_measured=own is not None,
        bfcl=f"{card.bfcl.score} ({card.bfcl.date})" if card.bfcl else "",
        licence=f"{card.licence}, non-commercial" if card.non_commercial else card.licence,
    )
