// openai-node: chat completions with its tool runner, and responses.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import {
  City, DESCRIPTION, ENDPOINT, HELLO, KEY, MODEL, MAX_TOKENS, Parameters, URL, WEATHER, getWeather, report,
} from "./common.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const tool = zodFunction({ name: "get_weather", description: DESCRIPTION, parameters: Parameters, function: getWeather });

async function chat() {
  const { completions } = client.chat;
  const options = { model: MODEL, temperature: 0, max_tokens: MAX_TOKENS };
  const hello = { ...options, messages: [{ role: "user", content: HELLO }] };
  const weather = { ...options, messages: [{ role: "user", content: WEATHER }], tools: [tool] };
  const callsOf = (message) =>
    message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

  const plain = await completions.create(hello);
  assert.equal(plain.choices[0].finish_reason, "stop");
  const streamed = [];
  for await (const chunk of await completions.create({ ...hello, stream: true })) {
    streamed.push(chunk.choices[0].delta.content ?? "");
  }

  const callAnswer = await completions.create({ ...weather, tool_choice: "required" });
  assert.equal(callAnswer.choices[0].finish_reason, "tool_calls");
  const streaming = await completions.stream({ ...weather, tool_choice: "required" }).finalChatCompletion();
  const answer = await completions.runTools(weather).finalContent();
  assert.equal(await completions.runTools({ ...weather, stream: true }).finalContent(), answer);

  const parsed = await completions.parse({ ...hello, response_format: zodResponseFormat(City, "city") });
  report({
    plain: plain.choices[0].message.content,
    streamed,
    tokens: [plain.usage.prompt_tokens, plain.usage.completion_tokens],
    calls: callsOf(callAnswer.choices[0].message),
    streamed_calls: callsOf(streaming.choices[0].message),
    answer,
    structured: [parsed.choices[0].message.parsed],
  });
}

async function responses() {
  const options = { model: MODEL, temperature: 0, max_output_tokens: MAX_TOKENS };
  const { name, description, parameters } = tool.function;
  const tools = [{ type: "function", name, description, parameters, strict: true }];
  const input = [{ role: "user", content: WEATHER }];
  const callsOf = (response) => response.output.filter((item) => item.type === "function_call");
  const pairsOf = (response) => callsOf(response).map((call) => [call.name, JSON.parse(call.arguments)]);

  const plain = await client.responses.create({ ...options, input: HELLO });
  assert.equal(plain.status, "completed");
  const streamed = [];
  for await (const event of await client.responses.create({ ...options, input: HELLO, stream: true })) {
    if (event.type === "response.output_text.delta") streamed.push(event.delta);
  }

  const forced = { ...options, input, tools, tool_choice: "required" };
  const callAnswer = await client.responses.create(forced);
  const streaming = await client.responses.stream(forced).finalResponse();
  const results = callsOf(callAnswer).map((call) => ({
    type: "function_call_output",
    call_id: call.call_id,
    output: getWeather(JSON.parse(call.arguments)),
  }));
  const answer = await client.responses.create({ ...options, tools, input: [...input, ...callAnswer.output, ...results] });

  const parsed = await client.responses.parse({ ...options, input: HELLO, text: { format: zodTextFormat(City, "city") } });
  report({
    plain: plain.output_text,
    streamed,
    tokens: [plain.usage.input_tokens, plain.usage.output_tokens],
    calls: pairsOf(callAnswer),
    streamed_calls: pairsOf(streaming),
    answer: answer.output_text,
    structured: [parsed.output_parsed],
  });
}

await { chat, responses }[ENDPOINT]();
