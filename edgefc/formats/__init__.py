"""Chat formats: how each family's prompt is rendered and its answers are read. Knows nothing of llama.cpp."""

from edgefc.formats.detect import OWN, Detection, detect, family_of
from edgefc.formats.family import Family, family_names, load_family, plain_parser
from edgefc.formats.parse import Parsed, StreamParser
from edgefc.formats.render import Prompt

__all__ = [
    "OWN",
    "Detection",
    "Family",
    "Parsed",
    "Prompt",
    "StreamParser",
    "detect",
    "family_names",
    "family_of",
    "load_family",
    "plain_parser",
]
