// Tabs as the keyboard expects them: one stop for Tab, arrows between them.
import { html } from './html.js';

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

export function Tabs({ tabs, selected, onSelect, store }) {
  const index = tabs.findIndex(({ id }) => id === selected);
  const move = (event) => {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const last = tabs.length - 1;
    const next = Number.isFinite(step) ? (index + step + tabs.length) % tabs.length : step < 0 ? 0 : last;
    onSelect(tabs[next].id);
    document.getElementById(`tab-${tabs[next].id}`).focus();
  };
  const { panel: Panel } = tabs[index];
  return html`
    <div class="tabs" role="tablist" aria-label="Inspector" onKeyDown=${move}>
      ${tabs.map(
        ({ id, title }) => html`
          <button
            key=${id}
            type="button"
            role="tab"
            id=${`tab-${id}`}
            aria-selected=${id === selected ? 'true' : 'false'}
            aria-controls="panel"
            tabindex=${id === selected ? 0 : -1}
            onClick=${() => onSelect(id)}
          >
            ${title}
          </button>
        `,
      )}
    </div>
    <div class="panel" role="tabpanel" id="panel" aria-labelledby=${`tab-${selected}`} tabindex="0">
      <${Panel} key=${selected} store=${store} />
    </div>
  `;
}
