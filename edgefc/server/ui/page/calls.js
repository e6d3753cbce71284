// A tool call: its arguments beside the tool's schema, and a box for its result.
import { decisionOf } from './answer.js';
import { postJson } from './api.js';
import { html, useState } from './html.js';
import { runnerOf } from './mcp.js';
import { parseJson, percent, visible } from './text.js';
import { messagesUpTo } from './tree.js';

export function Call({ node, index, store, isOpen }) {
  const call = node.answer.calls[index];
  const tool = (node.body.tools ?? []).map((each) => each.function ?? each).find(({ name }) => name === call.name);
  const confidence = decisionOf(node.answer)?.calls[index];
  const { value: given } = parseJson(call.arguments);
  return html`
    <section class="call" aria-label=${`Call of ${call.name}`}>
      <header>
        <h3><code>${visible(call.name)}</code></h3>
        ${confidence && html`<span class="summary">P ${percent(confidence.probability)}</span>`}
      </header>
      ${tool?.description && html`<p class="note">${visible(tool.description)}</p>`}
      ${given && typeof given === 'object'
        ? html`<${Arguments} given=${given} tool=${tool} confidence=${confidence} node=${node} />`
        : html`<pre class="text">${visible(call.arguments)}</pre>`}
      ${isOpen && html`<${ResultBox} call=${call} tool=${tool} node=${node} store=${store} />`}
    </section>
  `;
}

function Arguments({ given, tool, confidence, node }) {
  const properties = tool?.parameters?.properties ?? {};
  const required = tool?.parameters?.required ?? [];
  const names = [...new Set([...Object.keys(given), ...Object.keys(properties)])];
  if (!names.length) return html`<p class="note">no arguments</p>`;
  const earlier = JSON.stringify(messagesUpTo(node.parent)).toLowerCase();
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label="Arguments">
      <table>
        <thead>
          <tr><th scope="col">Argument</th><th scope="col">Value</th><th scope="col">Schema</th><th scope="col">P</th></tr>
        </thead>
        <tbody>
          ${names.map((name) => {
            const isGiven = Object.hasOwn(given, name);
            const type = typeOf(properties[name]) + (required.includes(name) ? ', required' : '');
            return html`
              <tr key=${name} class=${isGiven ? '' : 'is-absent'}>
                <th scope="row"><code>${visible(name)}</code></th>
                <td>${isGiven ? html`<${Value} value=${given[name]} earlier=${earlier} />` : 'not given'}</td>
                <td class="note" title=${properties[name]?.description ?? ''}>${type}</td>
                <td>${percent(confidence?.arguments[name]?.probability)}</td>
              </tr>
            `;
          })}
        </tbody>
      </table>
    </div>
  `;
}

// A text that the conversation has is marked: others the model made up, or worked out.
function Value({ value, earlier }) {
  const text = JSON.stringify(value, null, 1);
  const isQuoted = typeof value === 'string' && value !== '' && earlier.includes(text.slice(1, -1).toLowerCase());
  return html`
    <code class="text">${visible(text)}</code> ${' '}
    ${isQuoted && html`<span class="mark" title="These words are in the conversation">from the conversation</span>`}
  `;
}

function typeOf(schema) {
  if (!schema || typeof schema !== 'object') return 'any';
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const types = [schema.type ?? schema.anyOf?.map(typeOf) ?? 'any'].flat();
  return types.join(' or ');
}

function ResultBox({ call, tool, node, store }) {
  const { drafts } = store.state;
  const id = `result-${call.id}`;
  const runner = runnerOf(tool, store.state);
  const send = (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (node.answer.calls.every(({ id: each }) => (drafts[each] ?? '').trim())) store.sendResults(node);
  };
  return html`
    <div class="row">
      <label for=${id}>Result of ${call.name}</label>
      ${runner && html`<${Run} call=${call} runner=${runner} store=${store} />`}
    </div>
    <textarea
      id=${id}
      rows="2"
      spellcheck="false"
      placeholder='{"temperature": 18}'
      title="Ctrl+Enter sends the results"
      value=${drafts[call.id] ?? ''}
      onInput=${(event) => store.setDraft(call.id, event.target.value)}
      onKeyDown=${send}
    ></textarea>
  `;
}

// The server runs its example tools and those of MCP servers. Pressing the button is the user's consent; the result is put
// into the box, to be read before it is sent.
function Run({ call, runner, store }) {
  const { server, name = call.name, badge } = runner;
  const [problem, setProblem] = useState('');
  const run = async () => {
    try {
      const body = { name, arguments: JSON.parse(call.arguments), server };
      store.setDraft(call.id, (await postJson('/v1/tools/run', body)).content);
      setProblem('');
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`
    ${badge && html`<span class="mark">${badge}</span>`}
    <button type="button" class="quiet" onClick=${run}>
      ${server ? `Allow, and run on ${server}` : 'Run'} <span class="for-screen-readers">${call.name}</span>
    </button>
    ${problem && html`<span class="problem" role="alert">${visible(problem)}</span>`}
  `;
}
