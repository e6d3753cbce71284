"""OpenAPI documents: read, their tools compiled, requests made. None is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from edgefc.errors import EdgefcError
from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case
from tests.fuzz.targets.schemas import schema

PET: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": {"type": "string", "nullable": True, "example": "Rex"},
        "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}},
        "parent": {"$ref": "#/components/schemas/Pet"},
    },
}
SOUND: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://{region}.example.com/v1", "variables": {"region": {"default": "api"}}}],
    "security": [{"token": []}, {}],
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "get": {
                "operationId": "getPet", "summary": "Get a pet", "tags": ["pets"],
                "parameters": [
                    {"name": "fields", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
            },
            "put": {
                "operationId": "setPet",
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
            },
            "delete": {"servers": [{"url": "http://127.0.0.1:1"}]},
        },
        "/tags": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tag"}}}}}},
    },
    "components": {
        "parameters": {"id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}},
        "schemas": {"Pet": PET, "Tag": {"allOf": [{"type": "object", "properties": {"tag": {"type": "string"}}}]}},
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "query", "name": "key"},
        },
    },
}  # fmt: skip
KEY = "key-of-the-user"


class OpenApi(BaseTarget):
    """Cases are {"text": the document, "arguments": of the calls}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        value: Any = SOUND
        if seeds and mutator.chance(0.1):
            return {**rng.choice(seeds), "arguments": {}}
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = mutator.change_json(value, (SOUND, {"schema": schema(mutator)}))
        text = mutator.write_json(value)
        if mutator.chance(0.3):
            text = yaml.safe_dump(SOUND)
            text = mutator.change_text(text)
        arguments = {name: mutator.value() for name in ("id", "fields", "filter", "X-Trace", "session", "name", "body")}
        return {"text": text, "arguments": arguments}

    def start(self, folder: Path) -> None:
        from edgefc.openapi import connect, http, keys, request

        self._path = folder / "document"
        self._connect, self._http, self._keys, self._request = connect, http, keys, request

    def run(self, case: Case) -> str:
        self._path.write_bytes(as_bytes(case["text"]))
        try:
            tools = self._connect(self._path, allow_writes=True)
        except EdgefcError:
            return "refused"
        for tool in tools[:8]:
            self._make_request(tool._operation, case["arguments"])
        return "tools" if tools else "no tools"

    def _make_request(self, operation: Any, arguments: dict[str, Any]) -> None:
        known = {one.argument: one for one in operation.parameters}
        chosen = {name: arguments.get(name, "x") for name, one in known.items() if name in arguments or one.is_required}
        secrets = self._keys.Secrets((("Authorization", f"Bearer {KEY}"),), (), (), (KEY,))
        try:
            made = self._request.build_request(operation, chosen, secrets)
        except EdgefcError:
            return
        except ValueError as error:
            if "JSON compliant" not in str(error):  # infinities, which no model can write
                raise
            return
        url = self._http.parse_url(made.url)
        if url is not None and url.origin != operation.url.origin:
            raise BrokenPromiseError(f"{made.url!r} leaves {operation.url.origin}")
        if any("\n" in text or "\r" in text for pair in made.headers for text in pair):
            raise BrokenPromiseError(f"a header has lines: {made.headers!r}")


TARGET = OpenApi
