"""The number of replicas."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgefc.errors import RequestError

MAX_REPLICAS = 1024
HINT = "Use replicas=4, or replicas=1..4 to follow the load; with ,gpus=1 each replica gets a GPU."
_COUNT = re.compile(r"(\d{1,6})(?:\.\.(\d{1,6}))?")
_GPUS = re.compile(r"\d{1,3}(\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Scale:
    """The bounds of the number of replicas, and the GPUs that Ray reserves for each, also a part of one.

    Raises RequestError.
    """

    minimum: int = 1
    maximum: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum <= MAX_REPLICAS:
            raise RequestError("ray", f"invalid number of replicas {self.text}: 1 to {MAX_REPLICAS}, in order", HINT)
        if self.gpus < 0:
            raise RequestError("ray", f"invalid number of GPUs {self.gpus:g}", HINT)

    @property
    def is_fixed(self) -> bool:
        """True if the number does not follow the load."""
        return self.minimum == self.maximum

    @property
    def text(self) -> str:
        """The number, or its bounds, such as "4" and "1..4"."""
        return f"{self.minimum}" if self.is_fixed else f"{self.minimum}..{self.maximum}"

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read `replicas=4` or `replicas=1..4`, perhaps followed by `,gpus=0.5`. Raises RequestError."""
        minimum, maximum, gpus = 1, 1, 0.0
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name == "replicas" and (match := _COUNT.fullmatch(value)):
                minimum, maximum = int(match[1]), int(match[2] or match[1])
            elif name == "gpus" and _GPUS.fullmatch(value):
                gpus = float(value)
            else:
                raise RequestError("ray", f"invalid value {part.strip()!r}", HINT)
        return cls(minimum, maximum, gpus)
