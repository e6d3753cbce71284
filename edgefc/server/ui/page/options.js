// The settings of the next request.
import { html } from './html.js';

function Field({ store, name, label, note, ...attributes }) {
  const id = `option-${name}`;
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input
        id=${id}
        type="number"
        placeholder="the model's own"
        aria-describedby=${note ? `${id}-note` : undefined}
        value=${store.state.settings[name]}
        onInput=${(event) => store.set(name, event.target.value)}
        ...${attributes}
      />
      ${note && html`<span class="note" id=${`${id}-note`}>${note}</span>`}
    </div>
  `;
}

export function Options({ store }) {
  const { settings, tools, models, model } = store.state;
  const names = tools.map((tool) => (tool?.function ?? tool)?.name).filter((name) => typeof name === 'string');
  const thinks = models.find(({ id }) => id === model)?.capabilities.includes('thinking');
  const set = (name) => (event) => store.set(name, event.target.value);
  return html`
    <h2>Options of the next request</h2>
    <div class="field">
      <label for="option-system">System message</label>
      <textarea id="option-system" rows="3" value=${settings.system} onInput=${set('system')}></textarea>
    </div>
    <div class="fields">
      <div class="field">
        <label for="option-choice">Tool choice</label>
        <select id="option-choice" value=${settings.tool_choice} onChange=${set('tool_choice')}>
          <option value="auto">auto: call or answer</option>
          <option value="required">required: call</option>
          <option value="none">none: answer</option>
          ${names.map((name) => html`<option key=${name} value=${`tool:${name}`}>${name}</option>`)}
        </select>
      </div>
      ${thinks &&
      html`
        <div class="field">
          <label for="option-thinking">Thoughts</label>
          <select id="option-thinking" value=${settings.thinking} onChange=${set('thinking')}>
            <option value="">the model's own</option>
            <option value="on">on</option>
            <option value="off">off</option>
          </select>
        </div>
      `}
      <${Field} store=${store} name="temperature" label="Temperature" min="0" max="2" step="0.1" />
      <${Field} store=${store} name="top_p" label="Top p" min="0" max="1" step="0.05" />
      <${Field} store=${store} name="max_tokens" label="Longest answer, tokens" min="1" step="1" />
      <${Field} store=${store} name="seed" label="Seed" step="1" placeholder="a new one" />
      <${Field}
        store=${store}
        name="call_bias"
        label="Call bias"
        step="0.5"
        placeholder="none"
        note="above 0: more calls, below 0: fewer"
      />
      <div class="field">
        <label for="option-confidence">Least confidence of a call: ${Number(settings.min_confidence).toFixed(2)}</label>
        <input
          id="option-confidence"
          type="range"
          min="0"
          max="1"
          step="0.01"
          value=${settings.min_confidence}
          onInput=${set('min_confidence')}
        />
      </div>
    </div>
    <label class="check">
      <input
        type="checkbox"
        checked=${settings.parallel}
        onChange=${(event) => store.set('parallel', event.target.checked)}
      />
      Several calls in one answer
    </label>
  `;
}
