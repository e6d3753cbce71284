"""Prompts byte for byte: the length and sha256 of what each family's reference renderer writes.

The digests were made by executing the vendors' own code and templates on the fixture in tests/goldens/fixture.json.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.formats import dialects, load_family
from edgefc.formats.typescript import typescript

FIXTURE = json.loads((Path(__file__).parents[1] / "goldens" / "fixture.json").read_text(encoding="utf-8"))
T, M1, H = FIXTURE["T"], FIXTURE["M1"], FIXTURE["H"]
ONE_CALL = {**H[1], "tool_calls": H[1]["tool_calls"][:1]}
HAMMER_TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "live_giveaways_by_type",
            "description": "Retrieve live giveaways from the GamerPower API based on the specified type.",
            "parameters": {
                "type": "object",
                "properties": {
                    "type": {
                        "type": "string",
                        "description": "The type of giveaways to retrieve (e.g., game, loot, beta).",
                        "default": "game",
                    }
                },
                "required": ["type"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}
                },
                "required": ["location"],
            },
        },
    },
]
QUESTION = "Where can I find live giveaways for beta access and games? And what's the weather like in New York, US?"
BOS = "<|begin_of_text|>"  # part of some references' text, and the tokenizer's business here


RENDERED: set[str] = set()  # the families whose prompts are compared


def rendered(family: str, messages: Any = M1, tools: Any = T, **options: Any) -> str:
    RENDERED.add(family)
    return load_family(family).render(messages, tools, **options).text


def history(family: str, messages: Any = H) -> str:
    """Return a prompt from its first user turn on."""
    text = rendered(family, messages)
    begin = next(text.index(mark) for mark in ("<|im_start|>user", "<|start_header_id|>user") if mark in text)
    return text[begin:]


def tail(family: str) -> str:
    """Return a prompt from 60 characters before the first question on."""
    text = rendered(family, H)
    return text[text.index("Weather in Paris?") - 60 :]


def apigen_history() -> str:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location": "New York"}'}}
    result = {"role": "tool", "tool_call_id": "1", "content": "x"}
    question = {"role": "user", "content": "And in Edinburgh in celsius?"}
    text = rendered("apigen-fc", [*M1, {"role": "assistant", "content": None, "tool_calls": [call]}, result, question])
    # The reference has no turn for results.
    text = text.replace("<|start_header_id|>ipython<|end_header_id|>\n\nx<|eot_id|>", "")
    return text[text.index("What's the weather") :]


def xlam_r() -> str:
    messages = [H[0], {**ONE_CALL, "content": "Checking."}, H[2], H[5]]
    return rendered("xlam-r", messages).removeprefix("[INST] ").removesuffix(" [/INST]")


def mistral_history() -> str:
    ids = {"call_1": "abcdefgh0", "call_2": "abcdefgh1"}
    messages = json.loads(json.dumps(H).replace("call_1", ids["call_1"]).replace("call_2", ids["call_2"]))
    return "<s>" + rendered("mistral", messages)


def mistral_small(messages: Any, tools: Any = T) -> str:
    """Return a prompt with ids of nine letters, which the vendor's template demands."""
    text = json.dumps(messages)
    for number, names in enumerate((("call_1", "c0"), ("call_2", "c1"))):
        for name in names:
            text = text.replace(f'"{name}"', f'"abcdefgh{number}"')
    return rendered("mistral-small-3.2", json.loads(text), tools)


def hammer_bare() -> str:
    """Return the prompt of the chat template in Hammer 2.1's repository: ours with the differences listed here."""
    listed = json.dumps(dialects.hammer(HAMMER_TOOLS, flat=True))
    text = rendered("hammer2.1", [{"role": "user", "content": QUESTION}], HAMMER_TOOLS)
    changes = [
        (listed, str([tool["function"] for tool in HAMMER_TOOLS])),
        ("AVAILABLE TOOLS]", "AVAILABLE_TOOLS]"),
        ("FORMAT INSTRUCTION]", "TASK INSTRUCTION]"),
        ("OF AVAILABLE_TOOLS]\n\n[", "OF AVAILABLE_TOOLS]\n\n\n["),
        ("INSTRUCTION]\n\nThe output", "INSTRUCTION]\nThe output"),
        ("<|im_end|>\n<|im_start|>user\n[B", "<|im_end|>\n\n<|im_start|>user\n[B"),
    ]
    for ours, theirs in changes:
        assert ours in text
        text = text.replace(ours, theirs)
    return text


def typescript_edges() -> str:
    """Return a tool list in which one function exercises every rule of Functionary's."""
    properties: dict[str, Any] = {
        "n": {"type": "integer", "description": "How many", "minimum": 1, "maximum": 9, "default": 2},
        "ratio": {"type": "number"},
        "when": {"type": "string", "format": "date-time", "description": "When."},
        "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "lvl": {"type": "integer", "enum": [1, 2]},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags"},
        "codes": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
        "objs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"k": {"type": "string", "description": "key"}},
                "required": ["k"],
            },
        },
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "any": {"type": "array"},
        "addr": {
            "type": "object",
            "description": "Address",
            "properties": {
                "zip": {"type": "string"},
                "geo": {"type": "object", "properties": {"lat": {"type": "number"}}},
            },
            "required": ["zip"],
        },
        "opt": {"type": ["string", "null"]},
        "nul": {"type": "string", "nullable": True},
        "free": {"description": "no type"},
        "u": {"oneOf": [{"type": "integer"}, {"type": "string", "format": "uri"}]},
        "ex": {"type": "string", "description": "with example", "examples": ["foo", {"a": "b"}]},
        "name": {"type": "string", "description": "line1\nline2", "maxLength": 5, "minLength": 0},
    }
    parameters = {"type": "object", "properties": properties, "required": ["n", "addr"]}
    empty = {"type": "object", "properties": {}}
    return typescript(
        [
            {"type": "function", "function": {"name": "book", "description": "Book it", "parameters": parameters}},
            {"type": "function", "function": {"name": "ping", "description": "", "parameters": empty}},
        ]
    )


# Arguments of every type, for families whose calls are not JSON.
ARGUMENTS: dict[str, Any] = {
    "city": "São Paulo", "note": "line 1\nline 2", "n": 5, "x": 2.5, "ok": True, "none": None, "tags": ["a", "b"],
}  # fmt: skip
NESTED: dict[str, Any] = {**ARGUMENTS, "o": {"k": 1}}
SYSTEM = [{"role": "system", "content": "Be brief."}]
EVERY_TYPE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "b": {"type": "array", "description": "B", "items": {"type": "string", "enum": ["x"]}},
        "A": {"type": "object", "properties": {"z": {"type": "integer"}}, "required": ["z"]},
        "n": {"type": "number", "nullable": True},
        "e": {"type": "string", "enum": ["p", "q"]},
    },
    "required": ["b"],
}
TYPES = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": EVERY_TYPE}}]
EVERY_OTHER_TYPE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "u": {"oneOf": [{"type": "integer", "description": "I", "default": 1}, {"type": "string"}], "default": "x"},
        "o": {"type": "object"},
        "l": {"type": ["string", "null"], "description": "L"},
        "g": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "nullable": True},
        "big": {
            "type": "array",
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "m": {"type": "string"}}},
        },
        "e": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "d": {"type": "integer", "default": 3},
        "s": {"type": "string", "nullable": True},
        "any": {},
        "in": {"type": "object", "properties": {"p": {"type": "boolean"}, "q": {"type": "array"}}, "required": ["p"]},
        "oo": {"oneOf": [{"type": "object"}, {"type": "string"}]},
    },
    "required": ["u"],
}
MORE_TYPES = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": EVERY_OTHER_TYPE}},
    {
        "type": "function",
        "function": {"name": "now", "description": "t", "parameters": {"type": "object", "properties": {}}},
    },
]


def called(*arguments: dict[str, Any], content: str = "", thoughts: str = "") -> list[Any]:
    """Return a question, calls of `f` with these arguments, and their results."""
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": json.dumps(each)}}
        for number, each in enumerate(arguments)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": content, "tool_calls": calls}
    if thoughts:
        message["reasoning_content"] = thoughts
    results = [{"role": "tool", "tool_call_id": f"c{number}", "content": f"r{number}"} for number in range(len(calls))]
    return [{"role": "user", "content": "Q?"}, message, *results]


def functiongemma(messages: list[Any], tools: bool = True) -> str:
    """Return a prompt for the tool of Ollama's tests of its renderer."""
    properties = {
        "city": {"type": "string", "description": "City Name"},
        "country": {"type": "string", "description": "Country Name"},
    }
    parameters = {"type": "object", "required": ["city"], "properties": properties}
    function = {"name": "get_weather", "description": "Gets the weather for a given city", "parameters": parameters}
    return rendered("functiongemma", messages, [{"type": "function", "function": function}] if tools else None)


def two_gemma_calls() -> list[Any]:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
        {"id": "b", "type": "function", "function": {"name": "get_time", "arguments": '{"timezone": "UTC"}'}},
    ]
    return [
        *WEATHER,
        {"role": "assistant", "content": "Let me check.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "b", "content": '{"hour": 12}'},
    ]


WEATHER = [{"role": "user", "content": "Weather?"}]
GEMMA_TEXT = [
    *called(NESTED, content="Let me see.", thoughts="Hm."),
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "ok"},
]


def hammer(family: str) -> str:
    return rendered(family, [{"role": "user", "content": QUESTION}], HAMMER_TOOLS)


XLAM = rendered("xlam-fc-v1")
WRAPPED = [{"type": "function", "function": tool} for tool in T]  # fed to Arch-Agent's template by mistake
DIGESTS = {
    "arch_chat": (rendered("arch-chat"), 1623, "8f28a48265402185"),
    "arch_chat_hist": (history("arch-chat", [H[0], ONE_CALL, H[2]]), 298, "ac267944eb1d1174"),
    "arch_fn": (rendered("arch-function"), 1210, "193ab85ab56f8fb5"),
    "arch_agent": (rendered("arch-agent"), 1227, "cf598ce165e2e0cb"),
    "arch_agent_wrapped": (rendered("arch-agent", tools=WRAPPED), 1295, "36f576c59b86316c"),
    "arch_agent_hist": (history("arch-agent"), 489, "765fdc2423f395e7"),
    "fn_v1": (rendered("functionary-v1"), 832, "d08cf046253faf68"),
    "fn_v2": (rendered("functionary-v2"), 909, "7eeac404cef3fdd5"),
    "fnh_v2": (tail("functionary-v2"), 528, "62500db8e7bd0063"),
    "fn_v2.llama3": (rendered("functionary-v2.llama3"), 955, "941137385fbbfff2"),
    "fnh_v2.llama3": (tail("functionary-v2.llama3"), 628, "55316c6a8eda096b"),
    "fn_v3.llama3": (rendered("functionary-v3.llama3"), 948, "d2ad702961585db3"),
    "fnh_v3.llama3": (tail("functionary-v3.llama3"), 550, "68ee54ed76308016"),
    "fn_v3-llama3.1": (rendered("functionary-v3.1"), 1806, "8146b8690dd806c3"),
    "fnh_v3-llama3.1": (tail("functionary-v3.1"), 582, "8bc1ac2bbfa4fe37"),
    "ts_jinja": (typescript_edges(), 777, "51a7464ccf48cfd4"),
    "xlam1_content": (XLAM[XLAM.index("[BEGIN") : XLAM.index("\n### Response")], 1527, "c340ed4aba70e3e1"),
    "xlam1": (XLAM, 1737, "127c9652cdb1ea33"),
    "xlam_r": (xlam_r(), 1713, "e55e0d1be5260e9e"),
    "xlam2_qwen": (rendered("xlam2-qwen"), 1843, "180cd22cc50e57ec"),
    "xlam2_qwen_hist": (history("xlam2-qwen"), 397, "7a8237b455818092"),
    "xlam2_llama": (BOS + rendered("xlam2-llama"), 1935, "ce17a8a8afdcbbec"),
    "xlam2_llama_hist": (history("xlam2-llama"), 578, "867a40bcadce55fb"),
    "hammer1": (hammer("hammer1"), 1796, "d71cdc0bdfc25441"),
    "hammer20": (hammer("hammer2.0"), 1803, "fcfb0ac176a831e2"),
    "hammer21_bfcl": (hammer("hammer2.1"), 1948, "b90f500a233b1336"),
    "hammer21_tpl_bare": (hammer_bare(), 2008, "ef2b84eb7fd65dcb"),
    "apigen": (BOS + rendered("apigen-fc"), 1759, "e0e758ba66a576f0"),
    "apigen_hist": (apigen_history(), 308, "09082e85c40ebdc0"),
    "qwen25": (rendered("hermes"), 1249, "09a128fc594445d5"),
    "qwen3": (rendered("qwen3"), 1179, "e9ffc1de55cc5cf1"),
    "qwen3_nothink": (rendered("qwen3", thinking=False), 1198, "811725a8c181a6b3"),
    "hermes2": (BOS + rendered("hermes-2-pro"), 1862, "0cce54557f81093e"),
    "llama31": (BOS + rendered("llama3-json"), 1823, "69a40b88b1090ff5"),
    "llama31_hist": (
        (text := rendered("llama3-json", [H[0], ONE_CALL, H[2], H[4], H[5]]))[text.index("Weather in Paris?") :],
        410,
        "790d414bd6eb729a",
    ),
    "mistral": ("<s>" + rendered("mistral"), 781, "53aa84ac26c90fff"),
    "mistral_hist": (mistral_history(), 1137, "1cde230a1633df59"),
    # Rendered by the templates in llama.cpp's source and in TRL, with the settings of transformers' Jinja.
    "qwen35": (rendered("qwen3.5"), 1703, "2c29410b1f5d3eb7"),
    "qwen35_nothink": (rendered("qwen3.5", thinking=False), 1714, "14637a5b01a1643c"),
    "qwen35_hist": (rendered("qwen3.5", SYSTEM + H), 2133, "4c75112f9d7d75e8"),
    "qwen35_plain": (rendered("qwen3.5", SYSTEM + M1, None), 147, "1aac16590398a893"),
    "qwen35_calls": (
        rendered("qwen3.5", called(NESTED, {}, content="I will.\n", thoughts="Hm.")),
        2207,
        "0e33e55a0dafd83d",
    ),
    "qwen3_coder": (rendered("qwen3-coder"), 1826, "d750ecafe79bb928"),
    "qwen3_coder_schema": (rendered("qwen3-coder", SYSTEM + M1, TYPES), 1534, "f75830b934242fdb"),
    "qwen3_coder_hist": (rendered("qwen3-coder", H), 2246, "bfef8602466953a9"),
    "qwen3_coder_calls": (rendered("qwen3-coder", called(NESTED, {}, content="I will.")), 2309, "cadec7001ed1e8d2"),
    "nemotron": (rendered("nemotron-3-nano"), 1807, "5fa2434fe4f9996a"),
    "nemotron_nothink": (rendered("nemotron-3-nano", thinking=False), 1814, "a34854944d22c9d4"),
    "nemotron_schema": (rendered("nemotron-3-nano", SYSTEM + M1, TYPES), 1603, "3f6c4feeb87a8365"),
    "nemotron_hist": (rendered("nemotron-3-nano", H), 2259, "3cc02b1966c198d1"),
    "nemotron_calls": (
        rendered("nemotron-3-nano", called(NESTED, {}, content="I will.", thoughts="Hm.")),
        2311,
        "aa0e91e4ed8e0a99",
    ),
    "lfm2": (rendered("lfm2"), 861, "adc24dcfad832401"),
    "lfm2_system": (rendered("lfm2", SYSTEM + M1), 871, "1e71e56ec483ef20"),
    "lfm2_hist": (rendered("lfm2", H), 1228, "c32479a2ab734bcd"),
    "lfm2_calls": (rendered("lfm2", called({**NESTED, "q": "it's \\ so"}, {})), 1158, "4febd84b81a7c9e8"),
    "lfm25": (rendered("lfm2.5"), 825, "5e8b59e3f5fa9871"),
    "lfm25_system": (rendered("lfm2.5", SYSTEM + M1), 835, "d3f2ae47f77a8be1"),
    "lfm25_hist": (rendered("lfm2.5", H), 1104, "fd2303df5c9e8446"),
    "lfm25_calls": (
        rendered("lfm2.5", called({**ARGUMENTS, "note": "x"}, {}, content="Well. ")),
        998,
        "8076a91cc1c47edd",
    ),
    "gemma4": (rendered("gemma4"), 781, "418a2c62e36937c4"),
    "gemma4_schema": (rendered("gemma4", M1, TYPES), 512, "8d3075409121a2ed"),
    "gemma4_think": (rendered("gemma4", SYSTEM + M1, thinking=True), 800, "a10fdbd291afc9f6"),
    "gemma4_hist": (rendered("gemma4", SYSTEM + H), 1134, "f9da2ef383f17bec"),
    "gemma4_calls": (rendered("gemma4", called(NESTED, {})), 1042, "b8959d249d232373"),
    "gemma4_text": (rendered("gemma4", GEMMA_TEXT), 1007, "d8b675d79281edf0"),
    "granite4": (rendered("granite4"), 1423, "64d86b46018fcc73"),
    "granite4_hist": (rendered("granite4", SYSTEM + H), 1920, "83795590fd8cf426"),
    "granite4_plain": (rendered("granite4", M1, None), 287, "e9da6b092f16836e"),
    "granite4_plain_system": (rendered("granite4", SYSTEM + M1, None), 206, "e11ff7ee3572afd1"),
    "granite4_calls": (rendered("granite4", called(NESTED, {}, content="I will.")), 1800, "c64e20552b01d26d"),
    # The template of its repository before Unsloth's changes, on July 26, 2024; past calls are the model's own text.
    "smollm3": (rendered("smollm3"), 2466, "3f0981942ca20781"),
    "smollm3_nothink": (rendered("smollm3", thinking=False), 1394, "215f0fdf59cbdff3"),
    "smollm3_hist": (rendered("smollm3", SYSTEM + H), 1663, "cdf5407a79463d07"),
    "smollm3_nothink_hist": (rendered("smollm3", H, thinking=False), 1780, "27e8474542d14d68"),
    "smollm3_plain": (rendered("smollm3", M1, None), 1413, "e9b464d91fbfb931"),
    "smollm3_flag": (
        rendered("smollm3", [{"role": "system", "content": "Be brief. /no_think"}, *M1]),
        1334,
        "3fee859086303ce6",
    ),
    # Its instructions for function calling, in its chat template.
    "smollm2": (rendered("smollm2"), 1631, "6dfa8439f1b07c1b"),
    "smollm2_hist": (rendered("smollm2", SYSTEM + H), 1968, "56c1cf814f0e8fb2"),
    "smollm2_plain": (rendered("smollm2", M1, None), 198, "0328b21da8a2297d"),
    # Its chat template, with the tools as its model card writes them.
    "phi4_mini": (rendered("phi4-mini"), 768, "e8dc3a1ea94ace78"),
    "phi4_mini_hist": (rendered("phi4-mini", SYSTEM + H), 998, "885629ea4b79b1e9"),
    "phi4_mini_plain": (rendered("phi4-mini", M1, None), 78, "07f78b9fba6c3cf6"),
    "phi4_mini_calls": (rendered("phi4-mini", called(NESTED, {}, content="I will.")), 997, "3ba6b9cee628131b"),
    # Its chat template, on July 26, 2024.
    "mistral_small": (mistral_small(M1), 3091, "d98fc4d3c6473b12"),
    "mistral_small_system": (mistral_small(SYSTEM + M1), 818, "c1ca8473eedc65ea"),
    "mistral_small_plain": (mistral_small(SYSTEM + M1, None), 103, "8d0504675e287ecc"),
    "mistral_small_hist": (mistral_small(SYSTEM + H), 1110, "1d1a11898a674405"),
    "mistral_small_calls": (mistral_small(SYSTEM + called(NESTED, {})), 1085, "6d1e8cd109383d55"),
    # Thoughts of earlier turns as the template writes parts of the type `thinking`.
    "ministral3_think": (rendered("ministral3", thinking=True), 1374, "2e5b7cac35e3e577"),
    "ministral3": (rendered("ministral3", SYSTEM + M1), 818, "c1ca8473eedc65ea"),
    "ministral3_hist": (rendered("ministral3", SYSTEM + H), 1028, "957e794ff8bf56e4"),
    "ministral3_plain": (rendered("ministral3", SYSTEM + M1, None), 103, "8d0504675e287ecc"),
    "ministral3_calls": (
        rendered("ministral3", SYSTEM + called(NESTED, {}, content="I will.", thoughts="Hm.")),
        1028,
        "dedbbc0f2b1be669",
    ),
    # On July 26, 2024. Several calls are several messages.
    "gpt_oss": (rendered("gpt-oss"), 881, "12b780fe4fbe2291"),
    "gpt_oss_schema": (rendered("gpt-oss", SYSTEM + M1, TYPES), 666, "eaa00eca78718de2"),
    "gpt_oss_types": (rendered("gpt-oss", M1, MORE_TYPES), 905, "3c1702e56769da65"),
    "gpt_oss_hist": (rendered("gpt-oss", SYSTEM + H), 1412, "b32f51f70f0e88ea"),
    "gpt_oss_plain": (rendered("gpt-oss", M1, None), 352, "6443713cda234734"),
    "gpt_oss_plain_system": (rendered("gpt-oss", SYSTEM + M1, None), 415, "4140dd736433daf4"),
    "gpt_oss_calls": (rendered("gpt-oss", called(NESTED, {}, thoughts="Hm.")), 1328, "702badf89fc54dc8"),
    "gpt_oss_text": (rendered("gpt-oss", called(NESTED, content="I will.")), 1176, "e48267d43a22c430"),
    "minicpm5": (rendered("minicpm5"), 1420, "5598063de943ee80"),
    "minicpm5_think": (rendered("minicpm5", thinking=True), 1428, "47b664af997786ee"),
    "minicpm5_nothink": (rendered("minicpm5", thinking=False), 1439, "c4225e8ff2a0d3e0"),
    "minicpm5_hist": (rendered("minicpm5", SYSTEM + H), 1804, "8eea966c05e82e31"),
    "minicpm5_plain": (rendered("minicpm5", SYSTEM + M1, None), 139, "1c673ba1dbaddea8"),
    "minicpm5_calls": (
        rendered("minicpm5", called({**NESTED, "m": "a < b & c"}, {}, content="I will.", thoughts="Hm.")),
        1910,
        "99ef756b560d6844",
    ),
    "minicpm5_past": (
        rendered(
            "minicpm5",
            [
                *called({**NESTED, "m": "a < b & c"}, {}),
                {"role": "assistant", "content": "Done."},
                {"role": "user", "content": "ok"},
            ],
        ),
        1948,
        "915aa10b7f8cf0ad",
    ),
    # BFCL's BitAgentHandler.
    "bitagent": (BOS + rendered("bitagent-bounty"), 1918, "0dc07e668d8431fe"),
    "bitagent_hist": (BOS + rendered("bitagent-bounty", SYSTEM + H), 2283, "95b65427162198ab"),
    # BFCL's default system prompt and LlamaHandler; the calls of its history are the model's own text.
    "llama_pythonic": (rendered("llama-pythonic"), 2423, "4a57db7cfb67d005"),
    "llama_pythonic_system": (rendered("llama-pythonic", SYSTEM + M1), 2435, "2bc1e2ddd733420b"),
    "llama_pythonic_hist": (rendered("llama-pythonic", H), 2792, "70f655e2f92a5c3f"),
    # The expectations of Ollama's tests; results as BFCL's handler writes them.
    "functiongemma": (functiongemma(WEATHER), 537, "ba3e73c066b25d07"),
    "functiongemma_system": (
        functiongemma([{"role": "system", "content": "Be concise."}, *WEATHER]),
        549,
        "53810a7b0063c89e",
    ),
    "functiongemma_calls": (functiongemma(two_gemma_calls(), tools=False), 414, "acdde29906a6d79e"),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_a_prompt_is_the_reference_s_byte_for_byte(name: str) -> None:
    text, size, digest = DIGESTS[name]
    data = text.encode()
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == (size, digest)


def test_rendering_leaves_the_caller_s_tools_as_they_are() -> None:
    tools = copy.deepcopy(HAMMER_TOOLS)
    first = hammer("hammer2.1")
    assert hammer("hammer2.1") == first
    assert tools == HAMMER_TOOLS
