"""The table of what is verified in docs/families.md follows from the families, their digests and the catalogue."""

from __future__ import annotations

from pathlib import Path

from edgefc.formats import family_names
from edgefc.models.cards import own_cards
from tests.formats.test_digests import RENDERED

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
CODE, TEMPLATE, BFCL = "the vendor's code", "the vendor's template", "BFCL's handler"
REFERENCES = {
    **dict.fromkeys(
        [
            "apigen-fc", "arch-agent", "arch-chat", "arch-function", "functionary-v1", "hammer1",
            "smollm2", "xlam-fc-v1", "xlam-r",
        ],
        CODE,
    ),
    **dict.fromkeys(
        [
            "functionary-v2", "functionary-v2.llama3", "functionary-v3.1", "functionary-v3.llama3", "gemma4", "gpt-oss",
            "granite4", "hermes", "hermes-2-pro", "lfm2", "lfm2.5", "llama3-json", "minicpm5", "ministral3", "mistral",
            "mistral-small-3.2",            "nemotron-3-nano", "phi4-mini", "qwen3", "qwen3-coder", "qwen3.5", "smollm3",
        ],
        TEMPLATE,
    ),
    **dict.fromkeys(["bitagent-bounty", "hammer2.0", "hammer2.1", "llama-pythonic", "xlam2-llama", "xlam2-qwen"], BFCL),
    "functiongemma": "Ollama's tests",
}  # fmt: skip
# The families that the models of tests/real get.
WEIGHTS = {
    "demo": "the model in the package",
    "edgefc-mini": "SmolLM2 135M with edgefc's adapter",
    "generic": "SmolLM2 135M, Gemma 3 270M",
    "json-list": "Qwen2.5-Coder 0.5B, 1.5B",
}


def table() -> str:
    """Write the table."""
    lines = [
        "| family | models in the catalogue | prompt is byte for byte that of | weights run | not verified |",
        "|---|---|---|---|---|",
    ]
    for family in [*family_names(), ""]:
        cards = [card for card in own_cards().values() if card.family == family]
        doubts = sorted({name for card in cards for name in card.unverified})
        if family not in {*REFERENCES, *WEIGHTS, ""}:
            doubts.insert(0, "prompt")
        models = ", ".join(f"`{card.id}`" for card in cards)
        cells = [
            f"`{family}`" if family else "found by the file",
            models,
            REFERENCES.get(family, ""),
            WEIGHTS.get(family, ""),
            ", ".join(doubts),
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def test_the_document_has_the_table() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8"), f"docs/families.md must contain:\n{table()}"


def test_references_are_those_of_the_digests() -> None:
    assert set(REFERENCES) == RENDERED


def test_every_family_is_described() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = text[text.index("## All families") : text.index("## What is verified")]
    assert [name for name in family_names() if f"`{name}`" not in rows] == []
