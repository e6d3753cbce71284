"""Random ids for tool calls."""

from __future__ import annotations

import secrets
import string

_ALPHANUMERIC = string.ascii_letters + string.digits


def new_call_id() -> str:
    """Return `call_` and 24 letters or digits, the form of OpenAI's ids."""
    return "call_" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(24))


def new_short_id() -> str:
    """Return nine letters or digits: Mistral's templates accept no other form."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))
