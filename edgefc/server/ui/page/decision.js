// The decision: call or answer, and which tool.
import { decisionOf } from './answer.js';
import { html } from './html.js';
import { percent, visible } from './text.js';

const SHOWN = 6; // tools of a call
const width = (probability) => ({ width: `${(100 * probability).toFixed(2)}%` });

export function Decision({ answer }) {
  const decision = decisionOf(answer);
  if (!decision) return null;
  const call = decision.call?.probability ?? null;
  return html`
    <section class="decision" aria-label="Decision">
      <h2>Decision</h2>
      ${call !== null &&
      html`
        <div class="split" aria-hidden="true">
          <span class="p-call" style=${width(call)}></span><span class="p-answer" style=${width(1 - call)}></span>
        </div>
        <p class="legend">
          <span><i class="swatch p-call"></i>P(call) <b>${percent(call)}</b></span>
          <span><i class="swatch p-answer"></i>P(answer) <b>${percent(decision.answer?.probability)}</b></span>
        </p>
      `}
      ${decision.calls.map((each, index) => html`<${Choice} key=${index} call=${each} number=${index + 1} />`)}
    </section>
  `;
}

function Choice({ call, number }) {
  return html`
    <h3>Call ${number}: which tool</h3>
    <ul class="bars">
      ${call.tools.slice(0, SHOWN).map(
        ({ token, logprob }) => html`
          <li key=${token}>
            <code>${visible(token)}</code>
            <span class="bar-track" aria-hidden="true"><span style=${width(Math.exp(logprob))}></span></span>
            <span class="number">${percent(Math.exp(logprob))}</span>
          </li>
        `,
      )}
    </ul>
  `;
}
