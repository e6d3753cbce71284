"""Chat formats: rendering each family's prompt and reading its answers, without any knowledge of llama.cpp."""

from edgefc.formats.canonical import canonicalize
from edgefc.formats.detect import MODEL_TEMPLATE, Detection, detect, family_of
from edgefc.formats.family import Family, family_names, load_family, plain_parser
from edgefc.formats.parse import ParsedReply, StreamParser
from edgefc.formats.plain_history import calls_since_question
from edgefc.formats.render import Prompt
from edgefc.formats.spellings import begins_like_call, every_spelling

__all__ = [
    "MODEL_TEMPLATE",
    "Detection",
    "Family",
    "ParsedReply",
    "Prompt",
    "StreamParser",
    "begins_like_call",
    "calls_since_question",
    "canonicalize",
    "detect",
    "every_spelling",
    "family_names",
    "family_of",
    "load_family",
    "plain_parser",
]
