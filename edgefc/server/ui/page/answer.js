// An answer while it is streamed: the chunks of a chat completion, put together.

export const newAnswer = () => ({
  content: '',
  reasoning: '',
  calls: [], // { id, name, arguments }; arguments are JSON text, incomplete while they arrive
  tokens: [],
  facts: null, // the trace without its tokens
  extension: null, // edgefc's own field: outcome, end_reason, confidence
  finish: null,
  warning: '',
  usage: null,
  timings: null,
  state: 'running', // then complete, stopped or failed
  error: null,
});

export function addChunk(answer, chunk) {
  if (chunk.warning) answer.warning = chunk.warning;
  if (chunk.usage) answer.usage = chunk.usage;
  if (chunk.timings) answer.timings = chunk.timings;
  const choice = chunk.choices[0];
  if (!choice) return;
  const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta;
  answer.content += content ?? '';
  answer.reasoning += reasoning ?? '';
  for (const delta of calls ?? []) addCall(answer, delta);
  if (choice.finish_reason) answer.finish = choice.finish_reason;
  if (choice.x_edgefc) answer.extension = choice.x_edgefc;
  if (choice.x_edgefc_trace) {
    const { tokens, ...facts } = choice.x_edgefc_trace;
    answer.tokens = [...answer.tokens, ...tokens];
    if (facts.prompt) answer.facts = facts;
  }
}

function addCall(answer, delta) {
  const call = (answer.calls[delta.index] ??= { id: '', name: '', arguments: '' });
  call.id ||= delta.id ?? '';
  call.name += delta.function?.name ?? '';
  call.arguments += delta.function?.arguments ?? '';
}

// The answer as a message of the conversation that follows.
export function messageOf(answer) {
  const message = { role: 'assistant', content: answer.content || null };
  if (answer.reasoning) message.reasoning_content = answer.reasoning;
  if (answer.calls.length) {
    message.tool_calls = answer.calls.map((call) => ({
      id: call.id,
      type: 'function',
      function: { name: call.name, arguments: call.arguments },
    }));
  }
  return message;
}

export const outcomeOf = (answer) => answer.extension?.outcome ?? (answer.calls.length ? 'call' : 'answer');
// Why an answer ended other than by itself, such as `length`; "" if it did.
export const cutReasonOf = ({ extension }) => (extension && extension.end_reason !== 'stop' ? extension.end_reason : '');
export const decisionOf = (answer) => answer.facts?.decision ?? answer.extension?.confidence ?? null;

// How a token came about, in one word: drafted tokens were sampled, too, but cost no step of their own.
export function kindOf(token) {
  if (token.origin === 'forced') return 'forced';
  if (token.drafted) return 'drafted';
  return token.origin;
}
