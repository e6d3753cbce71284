// Vercel's AI SDK: @ai-sdk/openai-compatible over chat completions, @ai-sdk/openai over responses.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateObject, generateText, isStepCount, streamText, tool } from "ai";
import {
  City, DESCRIPTION, ENDPOINT, HELLO, KEY, MODEL, MAX_TOKENS, Parameters, URL, WEATHER, getWeather, report,
} from "./common.mjs";

const model = {
  chat: () =>
    createOpenAICompatible({ name: "edgefc", baseURL: URL, includeUsage: true, supportsStructuredOutputs: true })(MODEL),
  responses: () => createOpenAI({ baseURL: URL, apiKey: KEY })(MODEL),
}[ENDPOINT]();
const options = { model, temperature: 0, maxOutputTokens: MAX_TOKENS, maxRetries: 0 };
const get_weather = tool({ description: DESCRIPTION, inputSchema: Parameters, execute: getWeather });
const weather = { ...options, prompt: WEATHER, tools: { get_weather } };
const callsOf = (calls) => calls.map((call) => [call.toolName, call.input]);

const plain = await generateText({ ...options, prompt: HELLO });
assert.equal(plain.finishReason, "stop");
const stream = streamText({ ...options, prompt: HELLO });
const streamed = [];
for await (const text of stream.textStream) streamed.push(text);
assert.equal((await stream.usage).totalTokens, plain.usage.totalTokens);

const callAnswer = await generateText({ ...weather, toolChoice: "required" });
assert.equal(callAnswer.finishReason, "tool-calls");
const streaming = streamText({ ...weather, toolChoice: "required" });
const streamedCalls = callsOf(await streaming.toolCalls);

const loop = await generateText({ ...weather, stopWhen: isStepCount(3) });
const streamedLoop = streamText({ ...weather, stopWhen: isStepCount(3) });
assert.equal(await streamedLoop.text, loop.text);

const structured = [
  (await generateText({ ...options, prompt: HELLO, output: Output.object({ schema: City }) })).output,
  (await generateObject({ ...options, prompt: HELLO, schema: City })).object,
];
report({
  plain: plain.text,
  streamed,
  tokens: [plain.usage.inputTokens, plain.usage.outputTokens],
  calls: callsOf(callAnswer.toolCalls),
  streamed_calls: streamedCalls,
  answer: loop.text,
  structured,
});
