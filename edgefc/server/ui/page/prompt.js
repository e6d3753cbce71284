// The prompt as the model reads it: its parts, where their tokens came from, and control tokens as chips.
import { postJson } from './api.js';
import { html, useEffect, useState } from './html.js';
import { count, decodePieces, visible } from './text.js';

const SOURCES = {
  computed: 'computed now',
  slot: 'in the cache of this conversation',
  copy: 'copied from the cache of another one',
  memory: 'restored from memory',
  disk: 'read from disk',
};

export function Prompt({ store }) {
  const { selected } = store.state;
  const { prompt, error } = usePrompt(selected);
  if (!selected) return html`<p class="note">Ask something: the prompt of the answer appears here.</p>`;
  if (error) return html`<p class="problem" role="alert">${visible(error.message)}</p>`;
  const bands = bandsOf(selected.answer, prompt);
  const total = bands.reduce((sum, band) => sum + band.tokens, 0);
  return html`
    <h2>Prompt ${total > 0 && html`<span class="note">${count(total, 'token')}</span>`}</h2>
    ${total > 0 &&
    html`
      <div class="split" aria-hidden="true">
        ${bands.map(
          (band, index) => html`
            <span key=${index} class=${`band-${band.name}`} style=${{ width: `${(100 * band.tokens) / total}%` }}></span>
          `,
        )}
      </div>
    `}
    ${bands.map((band, index) => html`<${Band} key=${index} band=${band} prompt=${prompt} />`)}
    ${!prompt && html`<p class="note">reading …</p>`}
  `;
}

// Asks for the prompt of the very request once, and stores it with the answer.
function usePrompt(node) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (!node || node.prompt || node.promptError) return;
    postJson('/v1/apply-template', { ...node.body, x_edgefc_trace: true })
      .then((prompt) => (node.prompt = { text: prompt.prompt, tokens: decodePieces(prompt.tokens) }))
      .catch((error) => (node.promptError = error))
      .then(() => draw((n) => n + 1));
  }, [node]);
  return { prompt: node?.prompt, error: node?.promptError };
}

function bandsOf(answer, prompt) {
  if (answer.facts) return answer.facts.prompt;
  const end = prompt?.tokens.length ?? 0;
  return end ? [{ name: 'question', begin: 0, end, tokens: end, sources: {} }] : [];
}

function Band({ band, prompt }) {
  const sources = Object.entries(band.sources);
  return html`
    <section class=${`band band-${band.name}`} aria-label=${`${band.name}, ${count(band.tokens, 'token')}`}>
      <h3>
        ${band.name} <span class="note">${count(band.tokens, 'token')}</span>
        ${sources.map(
          ([source, tokens]) => html`<span class=${source === 'computed' ? 'mark' : 'mark is-cached'} key=${source} title=${SOURCES[source]}>${tokens} ${source}</span>`,
        )}
      </h3>
      <pre class="text">${prompt?.tokens.slice(band.begin, band.end).map((token, index) =>
        token.control
          ? html`<span key=${index} class="control-token" title=${`control token ${token.id}`}>${token.text}</span>`
          : visible(token.text),
      )}</pre>
    </section>
  `;
}
