// Tools from Python functions or from an OpenAPI document. The server reads them; nothing of them is run.
import { postJson } from './api.js';
import { html, useState } from './html.js';
import { count, visible } from './text.js';

const EXAMPLE = 'def get_price(item: str, currency: Literal["EUR", "USD"] = "EUR") -> float:';

export function AddTools({ store, isReady }) {
  const [source, setSource] = useState('');
  const [outcome, setOutcome] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      const { tools, omitted } = await postJson('/v1/tools/read', { source });
      store.addTools(tools);
      setOutcome({ text: `${count(tools.length, 'tool')} added`, omitted });
      setSource('');
    } catch (error) {
      setOutcome({ text: error.message, isProblem: true, omitted: [] });
    }
  };
  return html`
    <details>
      <summary>Add tools from Python or OpenAPI</summary>
      <form class="add" onSubmit=${submit}>
        <label for="add-source">Python functions, of which only the signatures are read, or an OpenAPI document</label>
        <textarea
          id="add-source"
          class="code"
          rows="5"
          spellcheck="false"
          placeholder=${EXAMPLE}
          value=${source}
          onInput=${(event) => {
            setSource(event.target.value);
            setOutcome(null);
          }}
        ></textarea>
        <button type="submit" disabled=${!source.trim() || !isReady}>Add</button>
        ${outcome && html`<p class=${outcome.isProblem ? 'problem' : 'note'} role="status">${visible(outcome.text)}</p>`}
        <ul class="findings">
          ${outcome?.omitted.map(
            ({ name, reason }) => html`<li class="warning"><code>${visible(name)}</code> left out: ${visible(reason)}</li>`,
          )}
        </ul>
      </form>
    </details>
  `;
}
