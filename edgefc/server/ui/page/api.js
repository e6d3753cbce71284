// Requests to the server that sent this page. The key is kept until the tab is closed.
const KEY = 'edgefc.key';

export const getKey = () => sessionStorage.getItem(KEY) ?? '';
export const setKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

// An error as the server tells it: its message, and the name of the field that it is about.
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.param = error.param ?? null;
  }
}

async function send(path, body, signal) {
  const key = getKey();
  const headers = { Accept: 'application/json, text/event-stream' };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const method = body === undefined ? 'GET' : 'POST';
  const options = { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { message: 'the server cannot be reached' });
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ApiError(response.status, answer.error ?? {});
  }
  return response;
}

export const getJson = async (path) => (await send(path)).json();
export const postJson = async (path, body, signal) => (await send(path, body, signal)).json();

// Yields the events of a stream, and before them { warning } with what the server ignored or left out.
// Throws ApiError for an error, also for one inside the stream.
export async function* postStream(path, body, signal) {
  const response = await send(path, body, signal);
  yield { warning: response.headers.get('x-edgefc-warning') ?? '', choices: [] };
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const data = event.split('\n').find((line) => line.startsWith('data: '))?.slice(6);
      if (data === undefined || data === '[DONE]') continue; // a comment that keeps the connection open, or the end
      const content = JSON.parse(data);
      if (content.error) throw new ApiError(content.error.status ?? response.status, content.error);
      yield content;
    }
  }
}
