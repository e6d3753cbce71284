"""simonw/llm: a model of extra-openai-models.yaml, prompts, chains with tools, schemas, and its command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llm
from common import ENDPOINT, HELLO, MAX_TOKENS, MODEL, URL, WEATHER, City, get_weather, report

config = Path(os.environ["LLM_USER_PATH"]) / "extra-openai-models.yaml"
config.write_text(
    f"- model_id: edge\n  model_name: {MODEL}\n  api_base: {URL}\n"
    f"  supports_tools: true\n  supports_schema: true\n  responses: {str(ENDPOINT == 'responses').lower()}\n",
    encoding="utf-8",
)
model = llm.get_model("edge")
options = {"temperature": 0, "max_tokens": MAX_TOKENS}


def calls_of(response: llm.Response) -> list[tuple[str, dict]]:
    return [(call.name, call.arguments) for call in response.tool_calls()]


plain = model.prompt(HELLO, stream=False, **options)
text, usage = plain.text(), plain.usage()
call_answer = model.prompt(WEATHER, tools=[get_weather], stream=False, **options)
streaming = model.prompt(WEATHER, tools=[get_weather], **options)
city = model.prompt(HELLO, schema=City, stream=False, **options)
command = [sys.executable, "-m", "llm", "-m", "edge", "--no-log", "-o", "temperature", "0", HELLO]
said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
assert said.strip() == text

report(
    plain=text,
    streamed=list(model.prompt(HELLO, **options)),
    tokens=(usage.input, usage.output),
    calls=calls_of(call_answer),
    streamed_calls=calls_of(streaming),
    answer=model.chain(WEATHER, tools=[get_weather], options=options).text(),
    structured=[City.model_validate_json(city.text())],
)
