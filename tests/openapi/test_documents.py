"""Documents → tools: files, addresses, tags, names, parameters, schemas of 3.0 and 3.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.openapi import connect
from edgefc.tools import ToolSet
from tests.openapi.conftest import Api, document, reply

SERVERS = [{"url": "https://api.example.com/v1"}]
LIST_PETS = {"operationId": "listPets", "summary": "List all pets."}


def tools_of(paths: dict[str, Any], **keys: Any) -> Any:
    return connect(document(paths, **{"servers": SERVERS, **keys}), allow_writes=True)


def schema_of(schema: Any, *, version: str = "3.1.0", **keys: Any) -> Any:
    """The schema of one query parameter."""
    parameter = {"name": "x", "in": "query", "schema": schema}
    tools = tools_of({"/x": {"get": {"parameters": [parameter]}}}, version=version, **keys)
    assert tools.omitted == ()
    return tools[0].source.schema["properties"]["x"]


def body_of(schema: Any, **keys: Any) -> Any:
    """The arguments of an operation with this body."""
    body = {"content": {"application/json": {"schema": schema}}, "required": True, **keys}
    (tool,) = tools_of({"/x": {"post": {"requestBody": body}}})
    return tool.source.schema


def test_json_yaml_and_an_address_give_the_same_tools(tmp_path: Path, api: Api) -> None:
    content = api.document({"/pets": {"get": LIST_PETS}})
    (tmp_path / "pets.json").write_text(json.dumps(content), encoding="utf-8")
    yaml = f"""
openapi: 3.1.0
info: {{title: Pets, version: '1'}}
servers: [url: "{api.url}"]
paths:
  /pets:
    get: {{operationId: listPets, summary: List all pets.}}
"""
    (tmp_path / "pets.yaml").write_text(yaml, encoding="utf-8")
    api.answers["/openapi.json"] = reply(content)
    sources = [content, tmp_path / "pets.json", str(tmp_path / "pets.yaml"), f"{api.url}/openapi.json"]
    prints = {tool.source.fingerprint for source in sources for tool in connect(source)}
    assert len(prints) == 1


def test_a_tag_chooses_operations(tmp_path: Path) -> None:
    paths = {"/a": {"get": {"tags": ["a tag"]}}, "/b": {"get": {"tags": ["b"]}}}
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(document(paths, servers=SERVERS)), encoding="utf-8")
    assert [tool.name for tool in connect(f"{path}#a%20tag")] == ["get_a"]
    with pytest.raises(RequestError, match=r"no operation has the tag 'c'(.|\n)*Known: a tag, b"):
        connect(f"{path}#c")
    odd = tmp_path / "odd#b"
    odd.write_bytes(path.read_bytes())
    assert len(connect(odd)) == 2


def test_writes_are_offered_on_request_alone() -> None:
    paths = {"/pets": {method: {} for method in ("get", "head", "post", "put", "patch", "delete", "trace", "options")}}
    reading = connect(document(paths, servers=SERVERS))
    assert [(tool.method, tool.source.badge) for tool in reading] == [("GET", "read-only"), ("HEAD", "read-only")]
    assert {one.tool for one in reading.omitted} == {"post_pets", "put_pets", "patch_pets", "delete_pets"}
    assert {tool.source.badge for tool in tools_of(paths)[2:]} == {"destructive"}


def test_names_fit_and_differ() -> None:
    operations = ["a b/ç", "a_b", "x" * 90, "x" * 80, "  ", None]
    paths = {f"/p{n}": {"get": {} if name is None else {"operationId": name}} for n, name in enumerate(operations)}
    names = [tool.name for tool in tools_of(paths)]
    assert names == ["a_b", "a_b_2", "x" * 64, "x" * 62 + "_2", "get_p4", "get_p5"]
    reserved = connect(document(paths, servers=SERVERS), reserved=["a_b"])
    assert reserved[0].name == "Pets__a_b"
    ToolSet.of(list(reserved))


def test_parameters_and_body_are_one_object() -> None:
    item = {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "page", "in": "query", "schema": {"type": "string"}},
        ],
        "put": {
            "parameters": [
                {"$ref": "#/components/parameters/page"},
                {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                {"name": "X-Trace", "in": "header", "schema": {"type": "string"}, "description": "A trace."},
            ],
            "requestBody": {"$ref": "#/components/requestBodies/pet"},
        },
    }
    components = {
        "parameters": {"page": {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}}},
        "requestBodies": {"pet": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["id", "name", "created"],
                "properties": {
                    "id": {"type": "integer"}, "name": {"type": "string"}, "created": {"type": "string", "readOnly": True},
                },
            }
        },
    }  # fmt: skip
    (tool,) = tools_of({"/pets/{id}": item}, components=components)
    assert tool.source.schema == {
        "type": "object",
        "properties": {
            "path_id": {"type": "integer"},
            "page": {"type": "integer"},
            "X-Trace": {"type": "string", "description": "A trace."},
            "body_id": {"type": "integer"},
            "name": {"type": "string"},
        },
        "required": ["path_id", "page", "body_id", "name"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "string"}]},
    ],
)
def test_another_body_is_one_argument(schema: Any) -> None:
    found = body_of(schema)
    assert set(found["properties"]) == {"body"}
    assert found["required"] == ["body"]


def test_an_optional_body_with_required_fields_stays_whole() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert "required" not in body_of(schema, required=False)
    assert set(body_of(schema, required=False)["properties"]) == {"body"}
    assert set(body_of(schema)["properties"]) == {"a"}


def test_all_of_plain_objects_is_one_object() -> None:
    parts = [{"type": "object", "properties": {name: {"type": "string"}}, "required": [name]} for name in "ab"]
    found = body_of({"allOf": parts})
    assert set(found["properties"]) == {"a", "b"}
    assert found["required"] == ["a", "b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "type": "string", "nullable": True}, {"enum": ["a", None], "type": ["string", "null"]}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}),
        ({"type": "string", "example": "Rex"}, {"type": "string", "examples": ["Rex"]}),
        (
            {"allOf": [{"type": "string"}], "nullable": True, "description": "D"},
            {"description": "D", "anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
        ),
        ({"type": "string", "xml": {}, "x-go": 1, "discriminator": {}, "title": "T"}, {"type": "string"}),
        ({"type": "object", "properties": {"a": {"type": "string", "required": True}}},
         {"type": "object", "properties": {"a": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_schemas_of_3_0_become_json_schema(old: Any, new: Any) -> None:
    assert schema_of(old, version="3.0.3") == new


def test_schemas_of_3_1_stay() -> None:
    schema = {"type": ["integer", "null"], "exclusiveMinimum": 1, "nullable": True}
    assert schema_of(schema) == {"type": ["integer", "null"], "exclusiveMinimum": 1}


def test_references_are_written_out_and_cycles_are_not() -> None:
    components = {
        "schemas": {
            "Name": {"type": "string", "description": "A name."},
            "Tree": {
                "type": "object",
                "properties": {
                    "name": {"$ref": "#/components/schemas/Name", "description": "Its name."},
                    "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
                },
            },
        }
    }
    assert schema_of({"$ref": "#/components/schemas/Name"}, components=components)["description"] == "A name."
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}, "required": True}
    (tool,) = tools_of({"/x": {"post": {"requestBody": body}}}, components=components)
    assert tool.source.schema["properties"]["name"] == {"type": "string", "description": "Its name."}
    assert tool.source.schema["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
    assert set(tool.source.schema["$defs"]) == {"Tree"}


def test_long_descriptions_are_cut() -> None:
    (tool,) = tools_of({"/x": {"get": {"summary": "List.", "description": "word " * 1000}}})
    assert tool.source.description.startswith("List. word word")
    assert len(tool.source.description) <= 500
    assert tool.source.description.endswith("word…")


def test_servers() -> None:
    variables = {"region": {"default": "eu"}, "v": {"default": "2"}}
    server = {"url": "https://{region}.example.com/v{v}/", "variables": variables}
    paths = {"/a": {"get": {}}, "/b": {"servers": [{"url": "https://b.example.com"}], "get": {}},
             "/c": {"get": {"servers": [{"url": "https://c.example.com"}]}}}  # fmt: skip
    assert [tool.address for tool in tools_of(paths, servers=[server])] == [
        "https://eu.example.com/v2/a",
        "https://b.example.com/b",
        "https://c.example.com/c",
    ]
    (omission,) = tools_of({"/a": {"get": {}}}, servers=[]).omitted
    assert "names no host" in omission.reason


def test_a_server_is_relative_to_the_address_of_the_document(api: Api) -> None:
    api.answers["/docs/openapi.json"] = reply(document({"/a": {"get": {}}}, servers=[{"url": "../v2"}]))
    (tool,) = connect(f"{api.url}/docs/openapi.json")
    assert tool.address == f"{api.url}/v2/a"


def test_yaml_scalars_are_those_of_json(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text(
        """
openapi: "3.0.0"
info: {title: T}
servers: [{url: "https://api.example.com"}]
paths:
  /x:
    get:
      parameters:
        - {name: x, in: query, schema: &s {enum: [on, no, 2020-01-01, 12:30, 1_000, 010, 1, 1.5, true, "2"]}}
        - {name: y, in: query, schema: *s}
      responses: {200: {description: ok}}
""",
        encoding="utf-8",
    )
    properties = connect(path)[0].source.schema["properties"]
    assert properties["x"]["enum"] == ["on", "no", "2020-01-01", "12:30", "1_000", "010", 1, 1.5, True, "2"]
    assert properties["x"] == properties["y"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 1, column 2: invalid JSON"),
        ("[1]", "must hold an object"),
        ("{}", "no OpenAPI document"),
        ('{"swagger": "2.0"}', "Swagger 2.0"),
        ('{"openapi": "4.0.0"}', "unsupported OpenAPI version '4.0.0'"),
        ('{"openapi": "3.1.0", "paths": 3}', "paths must be an object"),
        ("openapi: [1", "line 2, column 1: did not find"),
        ("a: &x [*x]", "contains itself"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("a: !!python/object/apply:os.system ['true']", "the tag"),
        ("a: !!binary aGk=", "the tag"),
        ("a: 1\n---\nb: 2", "second document"),
        ("? [1]\n: 2", "key must be text"),
    ],
)
def test_a_document_that_cannot_be_read_says_why(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "doc"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as error:
        connect(path)
    assert reason in str(error.value)
