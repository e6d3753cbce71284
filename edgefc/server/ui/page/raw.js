// An answer without the grammar: the same prompt, completed as raw text that nobody reads calls from.
import { postJson, postStream } from './api.js';
import { decodePieces } from './text.js';

const SAMPLING = ['model', 'temperature', 'top_p', 'seed'];
const MAX_TOKENS = 512; // raw completions have 16 unless they say otherwise

export async function completeRaw(answer, body, signal) {
  const prompt = await postJson('/v1/apply-template', { ...body, x_edgefc_trace: true }, signal);
  const request = {
    ...Object.fromEntries(SAMPLING.filter((name) => name in body).map((name) => [name, body[name]])),
    prompt: prompt.tokens.map(({ id }) => id),
    max_tokens: body.max_tokens ?? MAX_TOKENS,
    stream: true,
    stream_options: { include_usage: true },
  };
  for await (const chunk of postStream('/v1/completions', request, signal)) {
    answer.content += chunk.choices[0]?.text ?? '';
    answer.usage = chunk.usage ?? answer.usage;
    answer.timings = chunk.timings ?? answer.timings;
  }
  const content = { model: body.model, content: answer.content, with_pieces: true };
  const { tokens } = await postJson('/v1/tokenize', content, signal);
  answer.tokens = decodePieces(tokens).map((token) => ({ ...token, ...UNTRACED }));
  answer.extension = { outcome: 'raw text', end_reason: 'stop' };
}

// Completions have no trace: their tokens have no probabilities.
const UNTRACED = { origin: 'sampled', drafted: false, probability: null, others: [], step: 0, ms: 0, attempt: 0 };
