"""Limits of a request, written once: the Python API, the server's fields and models.toml read them here."""

from __future__ import annotations

import math
from collections.abc import Mapping

MAX_TOOLS = 256
MAX_TOOL_NAME = 128  # characters
MAX_MESSAGES = 4096
MAX_ANSWER_TOKENS = 2048  # unless the caller says otherwise
MAX_CHOICES = 8  # answers to one request, OpenAI's `n`
MAX_STOP_STRINGS = 16  # of a caller
MAX_STOPS = 24  # with those that a family adds
MAX_STOP_LENGTH = 1024  # characters
MAX_TOP_LOGPROBS = 20
MAX_LOGIT_BIAS = 100.0  # on the wire, where OpenAI has the same limit
MAX_TOP_K = 1 << 31
MAX_TOOL_RESULT = 1 << 20  # characters of a tool's result
MAX_TOOL_ITEMS = MAX_TOOL_RESULT // 2  # items of a generator; each has a character and a comma, at least
MIN_CONFIDENCE = (0.0, 1.0)
CALL_BIAS = (-100.0, 100.0)  # natural logarithm of odds
# Least and greatest value of each sampling parameter.
SAMPLING: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, MAX_TOP_K),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (1e-3, 100),
    "frequency_penalty": (-100, 100),
    "presence_penalty": (-100, 100),
    "penalty_last_n": (0, math.inf),
}
