// The token strip: each token of an answer, coloured by how it came about, with what else it could have been.
import { kindOf } from './answer.js';
import { Decision } from './decision.js';
import { html, useState } from './html.js';
import { count, milliseconds, percent, withBlanks } from './text.js';

const KINDS = {
  sampled: 'chosen by the model',
  forced: 'the only one that the grammar allowed',
  drafted: 'chosen by the model, computed together with the token before it',
  resampled: 'chosen in another attempt, after an invalid call',
  kept: 'taken over from the attempt before',
};
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10 };

export function Tokens({ store }) {
  const { selected } = store.state;
  if (!selected) return html`<p class="note">Ask something: the tokens of the answer appear here.</p>`;
  const { answer } = selected;
  const earlier = answer.facts?.earlier_attempts ?? [];
  return html`
    ${earlier.map(
      (tokens, index) => html`<${Strip} key=${index} title=${`Attempt ${index + 1}, invalid or declined`} tokens=${tokens} />`,
    )}
    <${Strip} key="answer" title="Tokens" tokens=${answer.tokens} isMain=${true} />
    <${Decision} answer=${answer} />
    <${Facts} answer=${answer} />
  `;
}

export function Strip({ title, tokens, isMain = false, marks = null }) {
  const [picked, pick] = useState(null);
  const chosen = Math.max(0, tokens.findIndex((token) => token.probability !== null)); // the first with alternatives
  const index = Math.min(picked ?? chosen, tokens.length - 1);
  const prefix = isMain ? 'token' : `token-${title.replaceAll(/\W+/g, '-')}`;
  const onKeyDown = (event) => {
    const step = event.key === 'Home' ? -Infinity : event.key === 'End' ? Infinity : STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(tokens.length - 1, index + step));
    pick(next);
    document.getElementById(`${prefix}-${next}`).scrollIntoView({ block: 'nearest' });
  };
  const kinds = Object.keys(KINDS).filter((kind) => tokens.some((token) => kindOf(token) === kind));
  return html`
    <section class="strip">
      <h2>${title} <span class="note">${tokens.length}</span></h2>
      <p class="legend">
        ${kinds.map(
          (kind) => html`
            <span key=${kind} title=${KINDS[kind]}>
              <i class=${`swatch ${kind}`}></i>${kind} <b>${tokens.filter((token) => kindOf(token) === kind).length}</b>
            </span>
          `,
        )}
      </p>
      ${tokens.length > 0 &&
      html`
        <ol
          class="tokens"
          role="listbox"
          aria-label=${title}
          tabindex="0"
          aria-activedescendant=${`${prefix}-${index}`}
          onKeyDown=${onKeyDown}
        >
          ${tokens.map(
            (token, each) => html`
              <${Token}
                key=${each}
                id=${`${prefix}-${each}`}
                token=${token}
                isFirstOfStep=${each > 0 && token.step !== tokens[each - 1].step}
                isPicked=${each === index}
                isMarked=${marks?.has(each)}
                onPick=${() => pick(each)}
              />
            `,
          )}
        </ol>
        <${Details} token=${tokens[index]} number=${index + 1} />
      `}
    </section>
  `;
}

function Token({ id, token, isFirstOfStep, isPicked, isMarked, onPick }) {
  const kind = kindOf(token);
  const classes = ['token', kind];
  if (token.probability !== null && token.probability < 0.5) classes.push('is-unsure');
  if (isFirstOfStep) classes.push('begins-step');
  if (isMarked) classes.push('differs');
  const label = [token.text, kind, token.probability !== null && percent(token.probability), `step ${token.step}`];
  return html`
    <li
      id=${id}
      role="option"
      class=${classes.join(' ')}
      data-step=${token.step}
      aria-selected=${isPicked ? 'true' : 'false'}
      aria-label=${label.filter((part) => part !== false).join(', ')}
      onMouseEnter=${onPick}
      onClick=${onPick}
    >${withBlanks(token.text)}</li>
  `;
}

function Details({ token, number }) {
  const kind = kindOf(token);
  const rows = token.probability === null ? [] : [{ ...token, isChosen: true, allowed: true }, ...token.others];
  return html`
    <div class="details">
      <p>
        <code class=${`token ${kind}`}>${withBlanks(token.text)}</code> <b>${kind}</b>: ${KINDS[kind]}
        <span class="note"> · token ${number}, id ${token.id}, step ${token.step}, ${milliseconds(token.ms)}</span>
      </p>
      ${rows.length > 0 &&
      html`
        <ul class="bars">
          ${rows.map(
            (row) => html`
              <li key=${row.id} class=${row.allowed ? '' : 'is-removed'}>
                <code>${withBlanks(row.text)}</code>
                <span class="bar-track" aria-hidden="true">
                  <span style=${{ width: `${(100 * row.probability).toFixed(2)}%` }}></span>
                </span>
                <span class="number">${percent(row.probability)}</span>
                <span class="note">${row.isChosen ? 'chosen' : row.allowed ? '' : 'removed by the grammar'}</span>
              </li>
            `,
          )}
        </ul>
      `}
    </div>
  `;
}

function Facts({ answer }) {
  const { facts, usage, extension } = answer;
  if (!facts) return null;
  const { grammar, unenforced } = facts;
  const selection = extension?.tool_selection;
  return html`
    ${selection &&
    html`
      <h3>Tools that the model was shown: ${selection.tools.length} of ${selection.total}</h3>
      <ul class="findings">
        ${selection.tools.map(({ name, reason }) => html`<li key=${name}><code>${name}</code> ${reason}</li>`)}
      </ul>
    `}
    <p class="note">
      ${usage && `${count(usage.completion_tokens, 'token')} by the server's count. `}
      ${facts.missing_tokens > 0 && `${count(facts.missing_tokens, 'token')} not traced. `}
      ${grammar &&
      `Grammar: ${grammar.characters.toLocaleString('en')} characters, started in ${milliseconds(grammar.start_ms)}, ` +
        `executed in ${milliseconds(grammar.ms)}, ${count(grammar.masks, 'mask')} over the vocabulary.`}
    </p>
    ${unenforced.length > 0 &&
    html`
      <h3>Checked when a call is complete</h3>
      <ul class="findings">
        ${unenforced.map(({ path, reason }) => html`<li key=${path} class="warning"><code>${path}</code> ${reason}</li>`)}
      </ul>
    `}
  `;
}
