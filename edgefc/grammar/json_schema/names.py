"""Names of the rules that one schema adds to a grammar."""

from __future__ import annotations

from edgefc.grammar.rules import EMPTY, Node, Ref, Rules

# Rules of the whole grammar and of free JSON, whatever tools and properties are called.
RESERVED = {"root", "call", "char", "escape", "number", "json-value", "json-object", "json-array"}
MAX_LENGTH = 80


class RuleNames:
    """Adds rules to a grammar under names that are free.

    prefix  begins every name made by `fresh`
    """

    def __init__(self, rules: Rules, prefix: str) -> None:
        self.rules = rules
        self._prefix = prefix
        self._numbers: dict[str, int] = {}

    def add(self, name: str, node: Node) -> Ref:
        """Add a rule for a node that is used in several places."""
        name = self._free(name)
        self.rules[name] = node
        return Ref(name)

    def reserve(self, name: str) -> str:
        """Add a rule whose node is set later; return its name."""
        name = self._free(name)
        self.rules[name] = EMPTY
        return name

    def fresh(self, hint: str) -> str:
        """Return a free rule name made of ASCII letters, digits and dashes, as GBNF demands."""
        clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{self._prefix}-{hint}".lower())
        clean = "-".join(part for part in clean.split("-") if part)[:MAX_LENGTH] or "rule"
        return self._free(clean)

    def _free(self, name: str) -> str:
        """Return this name, numbered if it is taken."""
        free = name
        while free in self.rules or free in RESERVED:
            number = self._numbers[name] = self._numbers.get(name, 1) + 1
            free = f"{name}-{number}"
        return free
