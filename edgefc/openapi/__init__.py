"""Operations of HTTP APIs as tools, from their OpenAPI documents: `pip install 'edgefc[openapi]'`.

    with edgefc.openapi.connect("petstore.json") as tools:
        model.run("Which pets are for sale?", tools=[*tools, my_function])

yaml_text   YAML as JSON values, without anything of YAML that code could hide in
document    a document from a file, an address or an object; its version, its tags
references  `$ref` inside a document
schemas     OpenAPI's schemas → JSON Schema: 3.0's differences, what a model does not need
parameters  the parameters and the body of an operation → one object of arguments
servers     the address of an operation
keys        its security: which environment variables hold the keys
operations  a document → its operations, and those that are left out
request     arguments → an HTTP request
http        sending it: to the document's hosts alone, bounded in time and size
result      the response as text for a model
tools       the operations as a sequence for `Model.run`
"""

from edgefc.errors import require_extra

require_extra("openapi", "filelock", "httpx2", "yaml")

from edgefc.openapi.tools import OpenApiTool, OpenApiTools, connect  # noqa: E402 - after the check

__all__ = ["OpenApiTool", "OpenApiTools", "connect"]
