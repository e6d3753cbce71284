// The state of the page and the actions on it. Components read `store.state`; `change` draws the page again.
import { addChunk, messageOf, newAnswer, outcomeOf } from './answer.js';
import { ApiError, getJson, postStream } from './api.js';
import { buildRequest, PATH, SETTINGS, streamed } from './request.js';
import { count } from './text.js';
import { messagesUpTo, Tree } from './tree.js';

const REDRAW_MS = 30; // between two drawings of a streamed answer

export class Store {
  constructor() {
    this.listeners = new Set();
    this.timer = null;
    this.state = {
      models: [],
      model: '',
      needsKey: false,
      problem: null, // an ApiError that concerns no answer
      questions: [],
      examples: [], // the example tools, which the server can run
      toolsText: '[]',
      mcp: { tools: [], omitted: [] },
      tools: [], // the last ones that were valid JSON
      settings: { ...SETTINGS },
      tree: new Tree(),
      selected: null, // the node whose answer the inspector shows
      running: null, // { node, controller }
      tab: 'tools',
      status: '', // what screen readers are told
      drafts: {}, // results that were typed in, by call id
      draft: '', // the question that is being written
    };
  }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  change(values = {}) {
    Object.assign(this.state, values);
    clearTimeout(this.timer);
    this.timer = null;
    this.listeners.forEach((listener) => listener());
  }

  changeSoon() {
    this.timer ??= setTimeout(() => this.change(), REDRAW_MS);
  }

  set(name, value) {
    this.change({ settings: { ...this.state.settings, [name]: value } });
  }

  async start() {
    try {
      const examples = await getJson('/ui/examples.json');
      Object.assign(this.state, { questions: examples.questions, examples: examples.tools });
      this.setTools(JSON.stringify(examples.tools, null, 2));
      await this.loadModels();
    } catch (error) {
      this.fail(error);
    }
  }

  async loadModels() {
    const { data } = await getJson('/v1/models');
    const model = data.some(({ id }) => id === this.state.model) ? this.state.model : (data[0]?.id ?? '');
    this.change({ models: data, model, needsKey: false, problem: null });
  }

  fail(error) {
    if (error instanceof ApiError && error.status === 401) this.change({ needsKey: true });
    else this.change({ problem: error });
  }

  setTools(text) {
    let tools = this.state.tools;
    try {
      const value = text.trim() ? JSON.parse(text) : [];
      tools = Array.isArray(value) ? value : [value];
    } catch {
      // the editor shows the mistake; until it is mended, requests have the tools before it
    }
    this.change({ toolsText: text, tools });
  }

  // Adds tools to those in the editor. Throws SyntaxError if these are no JSON.
  addTools(tools) {
    const { toolsText } = this.state;
    const before = toolsText.trim() ? [JSON.parse(toolsText)].flat() : [];
    this.setTools(JSON.stringify([...before, ...tools], null, 2));
  }

  setDraft(id, text) {
    this.change({ drafts: { ...this.state.drafts, [id]: text } });
  }

  ask(text) {
    if (this.state.running || !text.trim()) return;
    const { tree } = this.state;
    const node = tree.add(tree.last(), { kind: 'question', messages: [{ role: 'user', content: text }] });
    this.state.draft = '';
    this.answer(node);
  }

  // Asks again with another text: a branch beside the first question.
  edit(question, text) {
    if (this.state.running || !text.trim()) return;
    const messages = [{ role: 'user', content: text }];
    this.answer(this.state.tree.add(question.parent, { kind: 'question', messages }));
  }

  sendResults(answerNode) {
    if (this.state.running) return;
    const messages = answerNode.answer.calls.map((call) => ({
      role: 'tool',
      tool_call_id: call.id,
      name: call.name,
      content: this.state.drafts[call.id] ?? '',
    }));
    this.answer(this.state.tree.add(answerNode, { kind: 'results', messages }));
  }

  // Shows the boxes for an answer's results again, with what they contain.
  editResults(resultsNode) {
    resultsNode.parent.chosen = null;
    this.change();
  }

  regenerate(answerNode) {
    if (!this.state.running) this.answer(answerNode.parent);
  }

  turn(node, step) {
    this.state.tree.turn(node, step);
    const answers = this.state.tree.path().filter(({ kind }) => kind === 'answer');
    this.change({ selected: answers.at(-1) ?? null });
  }

  clear() {
    this.stop();
    this.change({ tree: new Tree(), selected: null, problem: null, drafts: {}, status: 'New conversation' });
  }

  stop() {
    this.state.running?.controller.abort();
  }

  // Lets the model answer the conversation that ends with this node.
  async answer(parent) {
    const { state } = this;
    const body = buildRequest(state.model, messagesUpTo(parent), state.tools, state.settings);
    const node = state.tree.add(parent, { kind: 'answer', messages: [], answer: newAnswer(), body });
    const controller = new AbortController();
    const tab = state.tab === 'tools' ? 'tokens' : state.tab;
    this.change({ running: { node, controller }, selected: node, tab, problem: null, status: 'The model answers' });
    await this.run(node.answer, () => this.stream(node.answer, body, controller.signal));
    node.messages = [messageOf(node.answer)];
    this.change({ running: null, status: describe(node.answer) });
  }

  async stream(answer, body, signal) {
    for await (const chunk of postStream(PATH, streamed(body), signal)) {
      addChunk(answer, chunk);
      this.changeSoon();
    }
  }

  // Lets `work` fill an answer; a failure becomes its state.
  async run(answer, work) {
    const begin = performance.now();
    try {
      await work();
      answer.state = 'complete';
    } catch (error) {
      answer.state = error.name === 'AbortError' ? 'stopped' : 'failed';
      if (answer.state === 'failed') answer.error = error;
      if (error.status === 401) this.fail(error);
    }
    answer.seconds = (performance.now() - begin) / 1000;
  }
}

function describe(answer) {
  if (answer.state === 'stopped') return 'Stopped';
  if (answer.state === 'failed') return `Error: ${answer.error.message}`;
  if (!answer.calls.length) return `Answer: ${answer.content}`;
  const names = answer.calls.map((call) => call.name).join(', ');
  return `${count(answer.calls.length, 'call')}: ${names}. Outcome: ${outcomeOf(answer)}`;
}
