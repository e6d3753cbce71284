// The time of an answer: until the first token, and each step of the model after it.
import { html } from './html.js';
import { count, milliseconds, visible } from './text.js';

// Returns the phases of an answer, each with begin and end in milliseconds since the request came.
export function phasesOf({ tokens, facts, timings }) {
  const attempts = [...(facts?.earlier_attempts ?? []), tokens].filter((attempt) => attempt.length);
  const phases = [];
  let prefill = timings?.prompt_ms ?? 0; // of all attempts together
  attempts.forEach((attempt, index) => {
    const prefix = attempts.length > 1 ? `attempt ${index + 1}: ` : '';
    const own = phasesOfAttempt(stepsOf(attempt), prefill, prefix);
    const start = phases.at(-1)?.end ?? 0; // a token's time counts from the start of its attempt
    phases.push(...own.map((phase) => ({ ...phase, begin: phase.begin + start, end: phase.end + start })));
    prefill -= own[1].end - own[1].begin;
  });
  return phases;
}

function stepsOf(tokens) {
  const steps = [];
  for (const token of tokens) {
    if (steps.at(-1)?.step === token.step) steps.at(-1).tokens.push(token);
    else steps.push({ step: token.step, tokens: [token] });
  }
  return steps;
}

const textOf = (tokens) => tokens.map((token) => token.text).join('');

// Returns waiting, prompt, and each step.
function phasesOfAttempt(steps, prefill, prefix) {
  const early = steps[0].step === 0 ? steps[0].tokens : []; // forced before the prompt was read
  const late = steps.filter(({ step }) => step > 0);
  const first = (late[0] ?? steps[0]).tokens[0].ms;
  const read = Math.min(prefill, first);
  const waiting = `${prefix}waiting, template, grammar${early.length ? '; tokens forced before the first step' : ''}`;
  const phases = [
    { name: waiting, kind: 'waiting', begin: 0, end: first - read, tokens: early.length, text: textOf(early) },
    { name: `${prefix}prompt`, kind: 'prefill', begin: first - read, end: first, tokens: 0, text: '' },
  ];
  let begin = first;
  for (const { step, tokens } of late) {
    const end = Math.max(begin, tokens.at(-1).ms);
    phases.push({ name: `${prefix}step ${step}`, kind: 'step', begin, end, tokens: tokens.length, text: textOf(tokens) });
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
        ${' '}${timings.predicted_per_second.toFixed(0)} tokens per second; prompt: ${timings.prompt_n}
        ${' '}computed, ${timings.cache_n} from a cache, ${timings.prompt_per_second.toFixed(0)} tokens per second
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
                  <span class=${phase.kind} style=${place(phase)} title=${phase.text} aria-hidden="true"></span>
                  <span class="for-screen-readers">${visible(phase.text)}</span>
                </td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}
