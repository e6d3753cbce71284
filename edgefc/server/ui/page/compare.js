// The same request once more, with one thing changed, beside the selected answer; what differs is marked.
import { decisionOf, newAnswer, outcomeOf } from './answer.js';
import { differences } from './differences.js';
import { getJson } from './api.js';
import { html, useEffect, useState } from './html.js';
import { completeRaw } from './raw.js';
import { count, milliseconds, percent, visible } from './text.js';
import { Strip } from './tokens.js';

export function Compare({ store }) {
  const { selected, models, running } = store.state;
  const [change, setChange] = useState({ model: '', family: '', temperature: '1', seed: '', tool_choice: '', grammar: '' });
  const [families, setFamilies] = useState([]);
  const [other, setOther] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const [, draw] = useState(0);
  useEffect(() => {
    getJson('/families').then(({ data }) => setFamilies(data), (error) => store.fail(error));
  }, []);
  if (!selected) return html`<p class="note">Ask something, then ask it again here with something changed.</p>`;
  const set = (name) => (event) => setChange({ ...change, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    const answer = newAnswer();
    setBusy(true);
    setOther({ answer, of: selected });
    const timer = setInterval(() => draw((n) => n + 1), 100);
    const body = changed(selected.body, change);
    await store.run(answer, () => (change.grammar === 'off' ? completeRaw(answer, body) : store.stream(answer, body)));
    clearInterval(timer);
    setBusy(false);
    store.change({ status: `Compared: ${outcomeOf(answer)}` });
  };
  return html`
    <h2>Ask again, with a change</h2>
    <form class="fields" onSubmit=${submit}>
      <div class="field">
        <label for="compare-model">Model</label>
        <select id="compare-model" value=${change.model} onChange=${set('model')}>
          <option value="">the same</option>
          ${models.map(({ id, meta }) => html`<option key=${id} value=${id}>${id} (${meta.family})</option>`)}
        </select>
      </div>
      <div class="field">
        <label for="compare-family">Chat format</label>
        <select id="compare-family" value=${change.family} onChange=${set('family')}>
          <option value="">the model's own</option>
          ${families.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
      </div>
      <div class="field">
        <label for="compare-choice">Tool choice</label>
        <select id="compare-choice" value=${change.tool_choice} onChange=${set('tool_choice')}>
          <option value="">the same</option>
          <option value="auto">auto</option>
          <option value="required">required</option>
          <option value="none">none</option>
        </select>
      </div>
      <div class="field">
        <label for="compare-grammar">Grammar</label>
        <select id="compare-grammar" value=${change.grammar} onChange=${set('grammar')}>
          <option value="">on</option>
          <option value="off">off: raw text</option>
        </select>
      </div>
      <div class="field">
        <label for="compare-temperature">Temperature</label>
        <input
          id="compare-temperature"
          type="number"
          min="0"
          max="2"
          step="0.1"
          placeholder="the same"
          value=${change.temperature}
          onInput=${set('temperature')}
        />
      </div>
      <div class="field">
        <label for="compare-seed">Seed</label>
        <input id="compare-seed" type="number" step="1" placeholder="a new one" value=${change.seed} onInput=${set('seed')} />
      </div>
      <button type="submit" class="primary" disabled=${isBusy || running}>${isBusy ? 'Answering' : 'Compare'}</button>
    </form>
    ${other && other.of === selected && html`<${Pair} left=${selected.answer} right=${other.answer} />`}
  `;
}

function changed(body, change) {
  const other = { ...body };
  if (change.model) other.model = change.model;
  if (change.family) other.x_edgefc_family = change.family;
  if (change.tool_choice && other.tools) other.tool_choice = change.tool_choice;
  if (change.temperature.trim()) other.temperature = Number(change.temperature);
  if (change.seed.trim()) other.seed = Number(change.seed);
  else delete other.seed;
  return other;
}

function Pair({ left, right }) {
  if (right.state === 'failed') return html`<p class="problem" role="alert">${visible(right.error.message)}</p>`;
  const [marksLeft, marksRight] = differences(left.tokens, right.tokens);
  const isSame = !marksLeft.size && !marksRight.size;
  const rows = [
    ['outcome', outcomeOf],
    ['calls', (answer) => answer.calls.map((call) => `${call.name}(${call.arguments})`).join('\n') || '–'],
    ['text', (answer) => answer.content || '–'],
    ['P(call)', (answer) => percent(decisionOf(answer)?.call?.probability)],
    ['tokens', (answer) => count(answer.tokens.length, 'token')],
    ['time', (answer) => milliseconds((answer.seconds ?? 0) * 1000)],
  ];
  return html`
    <p role="status">${isSame ? 'The tokens are equal.' : `${marksLeft.size} and ${marksRight.size} tokens differ.`}</p>
    <div class="scroll" tabindex="0" role="group" aria-label="Differences">
      <table class="pair">
        <thead>
          <tr><td></td><th scope="col">first</th><th scope="col">changed</th></tr>
        </thead>
        <tbody>
          ${rows.map(([name, read]) => {
            const [a, b] = [read(left), read(right)];
            const mark = name !== 'time' && a !== b ? 'differs' : '';
            return html`
              <tr key=${name}>
                <th scope="row">${name}</th>
                <td class=${mark}><span class="text">${visible(a)}</span></td>
                <td class=${mark}><span class="text">${visible(b)}</span></td>
              </tr>
            `;
          })}
        </tbody>
      </table>
    </div>
    <${Strip} title="Tokens, first" tokens=${left.tokens} marks=${marksLeft} />
    <${Strip} title="Tokens, changed" tokens=${right.tokens} marks=${marksRight} />
  `;
}
