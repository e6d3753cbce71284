"""Expansion of subschemas into disjuncts, and what can be said about them before any rule is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgefc.errors import FieldPath, SchemaError
from edgefc.grammar.deadline import tick
from edgefc.grammar.json_schema.combine import SPLITTING, Part, add_unevaluated, expand_keyword
from edgefc.grammar.json_schema.document import (
    MAX_DEPTH,
    NAMED_SCHEMAS,
    Conjunction,
    Document,
    Step,
    Subschema,
    Trail,
    describe_type,
)
from edgefc.grammar.json_schema.findings import Finding, UnenforceableError, unenforceable
from edgefc.grammar.json_schema.keywords import (
    ANNOTATIONS,
    check_keywords,
    enumerated_values,
    json_equal,
    json_type,
    json_types,
    reinterpretations,
)
from edgefc.grammar.json_schema.validity import are_disjoint, satisfies

MAX_SCHEMAS = 20_000
MAX_DISJUNCTS = 1_000
MAX_ENUM = 50_000
COSTLY = ("not", "oneOf", "if", "dependentRequired", "dependentSchemas", "dependencies", "multipleOf")

_NO_TRAIL: Trail = frozenset()
_Expansion = tuple[Subschema, list[list[Part]] | None]
_IMPOSSIBLE = "nothing can satisfy this"


class Expander:
    """Expands the subschemas of one document. Implements `SchemaContext`.

    unenforced   keywords that were given up: they are left out of every subschema
    changes      keywords that are read differently from draft 2020-12
    omit_costly  whether costly keywords are left out, because they took too many steps
    impossible   the first location found that nothing can satisfy
    """

    def __init__(self, document: Any, *, closed: bool) -> None:
        self.document, self.closed = Document(document), closed
        self.unenforced: dict[tuple[FieldPath, str], Finding] = {}
        self.changes: dict[Finding, None] = {}
        self.omit_costly = False
        self.reset()

    def reset(self) -> None:
        """Forget every expansion, after a keyword was given up."""
        self.impossible: SchemaError | None = None
        self._notes: dict[tuple[FieldPath, str], Finding] = {}
        self._disjuncts: dict[Conjunction, tuple[Conjunction, ...]] = {}
        self._expansions: dict[tuple[Subschema, tuple[FieldPath, str] | None, int], _Expansion] = {}
        self._values: dict[Conjunction, list[Any] | None] = {}
        self._checked: set[FieldPath] = set()
        self._overlapping: dict[FieldPath, set[tuple[int, int]]] = {}
        self._comparing: set[FieldPath] = set()

    # -- findings -------------------------------------------------------------------------------------------------

    def note(self, subschema: Subschema, keyword: str, reason: str) -> None:
        """List a keyword as not fully enforced, but keep what the rules do assert of it."""
        path, outer = subschema.origin or (subschema.path, keyword)
        self._notes[path, outer] = Finding((*path, outer), reason)

    def give_up(self, error: UnenforceableError) -> None:
        """List a keyword as not enforced. Raises SchemaError if leaving it out has not helped before."""
        path = (*error.path, error.keyword)
        if (error.path, error.keyword) in self.unenforced:
            raise SchemaError(path, error.reason) from None
        self.unenforced[error.path, error.keyword] = Finding(path, error.reason)

    def mark_impossible(self, subschema: Subschema, reason: str) -> None:
        """Remember the first location that nothing can satisfy."""
        self.impossible = self.impossible or SchemaError(
            subschema.path, reason, "Relax the schema: no value could be generated here."
        )

    def complete(self) -> None:
        """Add the notes of a finished compilation to the unenforced keywords."""
        self.unenforced.update(self._notes)

    # -- expansion ------------------------------------------------------------------------------------------------

    def disjuncts(self, subschemas: Iterable[Subschema]) -> tuple[Conjunction, ...]:
        """Return the ways in which all subschemas can hold, each without references and combinators; maybe none."""
        subschemas = tuple(subschemas)
        if subschemas not in self._disjuncts:
            self._disjuncts[subschemas] = tuple(dict.fromkeys(self._expand(subschemas)))
        return self._disjuncts[subschemas]

    def _expand(self, subschemas: Conjunction) -> list[Conjunction]:
        """Expand without recursion, for a schema may combine schemas as deeply as it is nested."""
        # For each way: the steps that are left to expand, last first, and the trails of those that are done.
        pending: list[tuple[list[Step], dict[Subschema, Trail]]] = [
            ([(s, _NO_TRAIL) for s in reversed(subschemas)], {})
        ]
        found: list[Conjunction] = []
        while pending:
            todo, done = pending.pop()
            while todo:
                subschema, trail = todo.pop()
                tick()
                if (place := (subschema.path, subschema.is_negated)) in trail:
                    raise SchemaError(subschema.path, "refers to itself without a value in between")
                subschema, ways = self._expansion(subschema)
                if ways is None:
                    if not subschema.schema.keys() <= ANNOTATIONS.union(subschema.handled):
                        done[subschema] = done.get(subschema, _NO_TRAIL) | trail
                    continue
                inner = trail | {place}
                branches = [[(part, inner if is_inner else trail) for part, is_inner in way] for way in ways]
                if len(branches) == 1:
                    todo += reversed(branches[0])
                else:
                    pending += [([*todo, *reversed(branch)], done.copy()) for branch in reversed(branches)]
                    if len(pending) + len(found) > MAX_DISJUNCTS:
                        raise _too_many_disjuncts(subschema)
                    break
            else:
                found.append(add_unevaluated(tuple(done.items())))
        return found

    def _expansion(self, subschema: Subschema) -> _Expansion:
        """Return a subschema without omitted keywords, and the ways in which it may hold; None: it is all that must.

        Raises SchemaError.
        """
        # What the compiler derives, such as the unevaluated items of a branch, may differ where the path does not.
        key = subschema, subschema.origin, id(subschema.schema)
        if key not in self._expansions:
            subschema = self._without_omitted(subschema)
            self._check(subschema)
            if isinstance(subschema.schema, bool):
                ways: list[list[Part]] | None = [] if subschema.schema is subschema.is_negated else [[]]
            else:
                ways = expand_keyword(self, subschema)
            if ways == []:
                self.mark_impossible(subschema, _IMPOSSIBLE)
            self._expansions[key] = subschema, ways
        return self._expansions[key]

    def _without_omitted(self, subschema: Subschema) -> Subschema:
        """Leave out keywords that were given up, and the compiler's own where the caller's schema uses their names."""
        if not isinstance(subschema.schema, Mapping):
            return subschema
        omitted: list[str] = []
        if self.omit_costly and not subschema.is_negated:
            omitted = [keyword for keyword in COSTLY if subschema.has(keyword)]
            for keyword in omitted:
                self.note(subschema, keyword, "takes too much work together with the rest")
            omitted = [keyword for keyword in omitted if keyword != "oneOf"]
        omitted += [keyword for path, keyword in self.unenforced if path == subschema.path and keyword != "oneOf"]
        if not subschema.is_synthetic:
            omitted += [keyword for keyword in subschema.schema if keyword.startswith("~")]
        return subschema.without(*omitted) if omitted else subschema

    def _check(self, subschema: Subschema) -> None:
        """Check a schema that is seen for the first time. Raises SchemaError."""
        schema, path = subschema.schema, subschema.path
        if isinstance(schema, bool) or path in self._checked:
            return
        if not isinstance(schema, Mapping):
            raise SchemaError(path, f"a schema must be an object, true or false, not {describe_type(schema)}")
        self._checked.add(path)
        if len(self._checked) > MAX_SCHEMAS:
            raise SchemaError(path, f"more than {MAX_SCHEMAS:,} schemas")
        if sum(part not in NAMED_SCHEMAS for part in path) > MAX_DEPTH:
            raise SchemaError(path, f"nested deeper than {MAX_DEPTH} schemas")
        check_keywords(subschema)
        self.changes.update(dict.fromkeys(reinterpretations(subschema)))

    # -- questions ------------------------------------------------------------------------------------------------

    def overlapping(self, subschema: Subschema, branches: list[Subschema]) -> set[tuple[int, int]]:
        """Return the pairs of `oneOf` branches that one value may satisfy; none once the keyword was given up."""
        path = subschema.path
        if self.omit_costly or (path, "oneOf") in self.unenforced:
            return set()
        if path not in self._overlapping:
            if path in self._comparing:
                raise SchemaError(path, "refers to itself without a value in between")
            self._comparing.add(path)
            # Unevaluated members depend on the branch, and must not be used to tell branches apart.
            rest, found = subschema.without("oneOf", "unevaluatedProperties", "unevaluatedItems"), set()
            for number, branch in enumerate(branches):
                for other in range(number):
                    pairs = (
                        (a, b) for a in self.disjuncts((branch, rest)) for b in self.disjuncts((branches[other], rest))
                    )
                    if not all(are_disjoint(self, a, b) for a, b in pairs):
                        found |= {(number, other), (other, number)}
            self._comparing.remove(path)
            self._overlapping[path] = found
        return self._overlapping[path]

    def values(self, conjunction: Conjunction) -> list[Any] | None:
        """Return the values that `enum` and `const` leave and the rest admits; None: there is neither keyword."""
        if conjunction not in self._values:
            self._values[conjunction] = self._admitted_values(conjunction)
        return self._values[conjunction]

    def _admitted_values(self, conjunction: Conjunction) -> list[Any] | None:
        lists = [(s.path, values) for s in conjunction if (values := enumerated_values(s)) is not None]
        if not lists:
            return None
        path, found = lists[0]
        if len(found) > MAX_ENUM:
            raise SchemaError((*path, "enum"), f"more than {MAX_ENUM:,} values")
        for _, others in lists[1:]:
            found = [value for value in found if any(json_equal(value, other) for other in others)]
        rest = tuple(subschema.without("enum", "const") for subschema in conjunction)
        if not any(subschema.schema.keys() - subschema.handled - ANNOTATIONS - {"type"} for subschema in rest):
            types = set(json_types(rest))
            return [value for value in found if json_type(value) in types]
        return [value for value in found if satisfies(self, value, rest)]

    def admits(self, value: Any, subschema: Subschema) -> bool:
        """Return whether a value satisfies a subschema, as the standard reads it."""
        return satisfies(self, value, (subschema,))


def _too_many_disjuncts(subschema: Subschema) -> Exception:
    reason = f"more than {MAX_DISJUNCTS:,} ways to satisfy all of it"
    if subschema.origin is not None:
        return unenforceable(subschema, "", reason)
    keyword = next(keyword for keyword in SPLITTING if subschema.has(keyword))
    if keyword in {"anyOf", "oneOf"}:
        return SchemaError((*subschema.path, keyword), reason)
    return UnenforceableError(subschema.path, keyword, reason)
