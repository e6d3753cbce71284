// The body of a request: the conversation, the tools and the settings, as every client of the API writes it.

export const PATH = '/v1/chat/completions';

// Settings as the form has them: texts, "" where the model's own value holds.
export const SETTINGS = {
  system: '',
  temperature: '',
  top_p: '',
  max_tokens: '',
  seed: '',
  tool_choice: 'auto',
  parallel: true,
  thinking: '',
  min_confidence: '0',
  call_bias: '',
};

const NUMBERS = {
  temperature: 'temperature',
  top_p: 'top_p',
  max_tokens: 'max_tokens',
  seed: 'seed',
  call_bias: 'x_edgefc_call_bias',
};

export function buildRequest(model, messages, tools, settings) {
  const system = settings.system ? [{ role: 'system', content: settings.system }] : [];
  const body = { model, messages: [...system, ...messages] };
  if (tools.length) {
    body.tools = tools;
    if (settings.tool_choice !== 'auto') body.tool_choice = toolChoice(settings.tool_choice);
    if (!settings.parallel) body.parallel_tool_calls = false;
    if (Number(settings.min_confidence) > 0) body.x_edgefc_min_confidence = Number(settings.min_confidence);
  }
  for (const [name, field] of Object.entries(NUMBERS)) {
    if (settings[name].trim() && (name !== 'call_bias' || tools.length)) body[field] = Number(settings[name]);
  }
  if (settings.thinking) body.chat_template_kwargs = { enable_thinking: settings.thinking === 'on' };
  return body;
}

function toolChoice(choice) {
  if (choice === 'none' || choice === 'required') return choice;
  return { type: 'function', function: { name: choice.slice('tool:'.length) } };
}

// The fields that this page adds, to stream the answer and to trace it.
export const streamed = (body) => ({
  ...body,
  stream: true,
  stream_options: { include_usage: true },
  x_edgefc_trace: true,
});
