// An answer as files that other commands of edgefc read: a line of a transcript, a case of a suite.
import { outcomeOf } from './answer.js';

const FIGURE = /(?:(?<![\w.,:-])-)?\d+(?:[.,:-]\d+)*/g; // as edgefc/evaluation/demo.py has it
const OPTIONS = ['tool_choice', 'parallel_tool_calls', 'temperature', 'top_p', 'max_tokens', 'seed'];

// Returns a line for `edgefc transcripts`; see edgefc/chat/recorder.py.
export function transcriptLine({ body, answer, messages }, { id, meta }) {
  const options = Object.fromEntries(OPTIONS.filter((name) => name in body).map((name) => [name, body[name]]));
  for (const [name, value] of Object.entries(body)) {
    if (name.startsWith('x_edgefc_')) options[name.slice('x_edgefc_'.length)] = value;
  }
  const thinking = body.chat_template_kwargs?.enable_thinking;
  if (thinking !== undefined) options.thinking = thinking;
  return JSON.stringify({
    version: 1,
    time: new Date().toISOString(),
    edgefc: 'page',
    model: { name: id, family: meta.family },
    options,
    tools: body.tools ?? null,
    messages: body.messages,
    reply: {
      message: messages[0],
      outcome: outcomeOf(answer),
      finish_reason: answer.finish,
      missing: answer.extension?.missing ?? [],
    },
  });
}

// Returns a case for `edgefc eval --suite demo --data FILE`, with this answer as the right one; null if there is no
// rule for such an answer.
export function evalCase({ body, answer }) {
  const expected = expectedOf(answer);
  if (!expected) return null;
  return JSON.stringify({
    id: `page-${Date.now()}`,
    category: answer.calls.length > 1 ? 'parallel' : 'hand_written',
    messages: body.messages,
    tools: body.tools ?? [],
    ground_truth: expected,
  });
}

function expectedOf(answer) {
  const outcome = outcomeOf(answer);
  if (outcome === 'call') {
    return { calls: answer.calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })) };
  }
  const missing = answer.extension?.missing ?? [];
  if (outcome === 'clarify' && missing.length) return { clarify: missing };
  if (outcome === 'no_tool') return { no_tool: true };
  const figures = [...new Set(answer.content.match(FIGURE) ?? [])];
  return outcome === 'answer' && figures.length ? { figures } : null;
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/jsonl' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
