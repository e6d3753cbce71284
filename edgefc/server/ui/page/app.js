// The page: a bar at the top, the conversation, and the inspector beside it.
import { setKey } from './api.js';
import { Compare } from './compare.js';
import { Conversation } from './conversation.js';
import { html, render, useEffect, useRef, useState } from './html.js';
import { Code } from './code.js';
import { Options } from './options.js';
import { Prompt } from './prompt.js';
import { Store } from './store.js';
import { Tabs } from './tabs.js';
import { Timeline } from './timeline.js';
import { Tokens } from './tokens.js';
import { Tools } from './tools.js';

const TABS = [
  { id: 'tools', title: 'Tools', panel: Tools },
  { id: 'options', title: 'Options', panel: Options },
  { id: 'tokens', title: 'Tokens', panel: Tokens },
  { id: 'prompt', title: 'Prompt', panel: Prompt },
  { id: 'timeline', title: 'Timeline', panel: Timeline },
  { id: 'compare', title: 'Compare', panel: Compare },
  { id: 'code', title: 'Code', panel: Code },
];

function App({ store }) {
  const [, draw] = useState(0);
  useEffect(() => store.subscribe(() => draw((n) => n + 1)), [store]);
  const { state } = store;
  return html`
    <a class="skip" href="#question">Skip to the question</a>
    <${Bar} store=${store} />
    <main>
      <${Conversation} store=${store} />
      <section class="inspector" aria-label="Inspector">
        <${Tabs} tabs=${TABS} selected=${state.tab} onSelect=${(tab) => store.change({ tab })} store=${store} />
      </section>
    </main>
    <div class="for-screen-readers" role="status" aria-live="polite">${state.status}</div>
    ${state.needsKey && html`<${KeyDialog} store=${store} />`}
  `;
}

function Bar({ store }) {
  const { models, model } = store.state;
  const meta = models.find(({ id }) => id === model);
  const facts = meta && [meta.meta.family, meta.meta.parameters, meta.meta.quantization].filter(Boolean).join(' · ');
  return html`
    <header class="bar">
      <h1>edgefc</h1>
      <label class="model">
        <span class="for-screen-readers">Model</span>
        <select value=${model} onChange=${(event) => store.change({ model: event.target.value })}>
          ${models.map(({ id }) => html`<option key=${id} value=${id}>${id}</option>`)}
        </select>
      </label>
      ${meta && html`<p class="facts">${facts} · ${meta.context_length.toLocaleString('en')} tokens</p>`}
      <button type="button" class="quiet" onClick=${() => store.clear()}>New conversation</button>
    </header>
  `;
}

function KeyDialog({ store }) {
  const dialog = useRef();
  const [key, change] = useState('');
  useEffect(() => dialog.current.showModal(), []);
  const submit = (event) => {
    event.preventDefault();
    setKey(key.trim());
    store.loadModels().catch((error) => store.fail(error));
  };
  return html`
    <dialog ref=${dialog} aria-labelledby="key-title" onCancel=${(event) => event.preventDefault()}>
      <form onSubmit=${submit}>
        <h2 id="key-title">This server needs an API key</h2>
        <label>
          API key
          <input type="password" autocomplete="off" value=${key} onInput=${(event) => change(event.target.value)} />
        </label>
        <p class="note">It is kept until this tab is closed, and sent to this server only.</p>
        <button type="submit" class="primary" disabled=${!key.trim()}>Use key</button>
      </form>
    </dialog>
  `;
}

const store = new Store();
const root = document.getElementById('app');
root.replaceChildren();
render(html`<${App} store=${store} />`, root);
store.start();
