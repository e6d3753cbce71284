// The time of an answer: until the first token, and each step of the model after it.
import { html } from './html.js';
import { count, milliseconds } from './text.js';

// Returns the phases of an answer, each with begin and end in milliseconds since the request came.
export function phasesOf(answer) {
  const phases = [];
  const { tokens, timings } = answer;
  if (!tokens.length) return phases;
  const steps = [];
  for (const token of tokens) {
    if (steps.at(-1)?.step === token.step) steps.at(-1).tokens.push(token);
    else steps.push({ step: token.step, ms: token.ms, tokens: [token] });
  }
  const first = steps.find(({ step }) => step > 0)?.ms ?? tokens[0].ms; // step 0: forced before the prompt was read
  const prefill = Math.min(timings?.prompt_ms ?? 0, first);
  const early = steps[0].step === 0 ? steps.shift() : null;
  phases.push({
    name: `waiting, template, grammar${early ? '; tokens forced before the first step' : ''}`,
    kind: 'waiting',
    begin: 0,
    end: first - prefill,
    tokens: early?.tokens.length ?? 0,
    text: early?.tokens.map((token) => token.text).join(''),
  });
  if (timings) {
    const name = `prompt: ${timings.prompt_n} computed, ${timings.cache_n} from a cache`;
    phases.push({ name, kind: 'prefill', begin: first - prefill, end: first, tokens: 0 });
  }
  let begin = first;
  for (const { step, ms, tokens: own } of steps) {
    const end = Math.max(begin, own.at(-1).ms, ms);
    const text = own.map((token) => token.text).join('');
    phases.push({ name: `step ${step}`, kind: 'step', begin, end, tokens: own.length, text });
    begin = end;
  }
  return phases;
}

export function Timeline({ store }) {
  const { selected } = store.state;
  if (!selected) return html`<p class="note">Ask something: the steps of the answer appear here.</p>`;
  const phases = phasesOf(selected.answer);
  const end = phases.at(-1)?.end || 1;
  const place = (phase) => ({
    left: `${(100 * phase.begin) / end}%`,
    width: `${Math.max(0.4, (100 * (phase.end - phase.begin)) / end)}%`,
  });
  const { usage, timings } = selected.answer;
  return html`
    <h2>Timeline <span class="note">${milliseconds(phases.at(-1)?.end)}</span></h2>
    ${timings &&
    html`
      <p class="note">
        ${count(usage.completion_tokens, 'token')} in ${count(phases.filter(({ kind }) => kind === 'step').length, 'step')},
        ${' '}${timings.predicted_per_second.toFixed(0)} tokens per second; prompt:
        ${' '}${timings.prompt_per_second.toFixed(0)} tokens per second
      </p>
    `}
    <div class="scroll" tabindex="0" role="group" aria-label="Steps">
      <table class="timeline">
        <thead>
          <tr>
            <th scope="col">Phase</th>
            <th scope="col" class="number">Time</th>
            <th scope="col" class="number">Tokens</th>
            <th scope="col"><span class="for-screen-readers">Text</span></th>
          </tr>
        </thead>
        <tbody>
          ${phases.map(
            (phase, index) => html`
              <tr key=${index}>
                <th scope="row">${phase.name}</th>
                <td class="number">${milliseconds(phase.end - phase.begin)}</td>
                <td class="number">${phase.tokens || ''}</td>
                <td class="track">
                  <span class=${phase.kind} style=${place(phase)} title=${phase.text ?? ''} aria-hidden="true"></span>
                  <span class="for-screen-readers">${phase.text ?? ''}</span>
                </td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}
