// The conversation: questions, answers with their calls, results, and the box for the next question.
import { cutReasonOf, decisionOf, outcomeOf } from './answer.js';
import { Call } from './calls.js';
import { html, useEffect, useRef, useState } from './html.js';
import { count, milliseconds, percent, visible } from './text.js';

export function Conversation({ store }) {
  const { state } = store;
  const path = state.tree.path();
  const end = useRef();
  const isFollowed = useRef(true);
  useEffect(() => {
    if (isFollowed.current) end.current.scrollTop = end.current.scrollHeight;
  });
  const follow = ({ target }) => {
    isFollowed.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
  };
  return html`
    <section class="conversation" aria-label="Conversation">
      <div class="messages" ref=${end} onScroll=${follow} tabindex="0" role="group" aria-label="Messages">
        ${!path.length && html`<${Start} store=${store} />`}
        ${path.map((node) => {
          const Node = NODES[node.kind];
          return html`<${Node} key=${node.id} node=${node} store=${store} />`;
        })}
        ${state.problem && html`<p class="problem" role="alert">${visible(state.problem.message)}</p>`}
      </div>
      <${Composer} store=${store} />
    </section>
  `;
}

function Start({ store }) {
  return html`
    <div class="start">
      <h2>See why a tool call came out as it did</h2>
      <p>
        Ask something. The inspector shows each token: chosen by the model, forced by the grammar, or drafted; the prompt
        that was read; and how sure the model was.
      </p>
      <ul class="examples">
        ${store.state.questions.map(
          (text) => html`<li><button type="button" onClick=${() => store.ask(text)}>${text}</button></li>`,
        )}
      </ul>
    </div>
  `;
}

function Branches({ node, store }) {
  const siblings = node.parent.children.filter(({ kind }) => kind === node.kind);
  if (siblings.length < 2) return null;
  const index = siblings.indexOf(node);
  const turn = (step) => () => store.turn(node, step);
  return html`
    <span class="branches">
      <button type="button" aria-label="Branch before" disabled=${index === 0} onClick=${turn(-1)}>‹</button>
      <span>${index + 1} / ${siblings.length}</span>
      <button type="button" aria-label="Branch after" disabled=${index === siblings.length - 1} onClick=${turn(1)}>
        ›
      </button>
    </span>
  `;
}

function Question({ node, store }) {
  const [draft, change] = useState(null);
  const [{ content }] = node.messages;
  const submit = (event) => {
    event.preventDefault();
    store.edit(node, draft);
    change(null);
  };
  return html`
    <article class="question" aria-label="Question">
      ${draft === null
        ? html`<p class="text">${visible(content)}</p>`
        : html`
            <form onSubmit=${submit}>
              <textarea
                aria-label="Question, edited"
                rows="3"
                value=${draft}
                onInput=${(event) => change(event.target.value)}
              ></textarea>
              <button type="submit" class="primary" disabled=${!draft.trim()}>Ask again</button>
              <button type="button" class="quiet" onClick=${() => change(null)}>Cancel</button>
            </form>
          `}
      <footer>
        <${Branches} node=${node} store=${store} />
        <button type="button" class="quiet" disabled=${store.state.running} onClick=${() => change(content)}>Edit</button>
      </footer>
    </article>
  `;
}

function Answer({ node, store }) {
  const { answer } = node;
  const { state } = store;
  const isRunning = answer.state === 'running';
  const isLast = !node.chosen && answer.state === 'complete';
  const inspect = () => {
    store.change({ selected: node, tab: 'tokens' });
    document.getElementById('tab-tokens').scrollIntoView({ block: 'nearest' });
  };
  const areComplete = answer.calls.every((call) => (state.drafts[call.id] ?? '').trim());
  return html`
    <article class=${`answer ${state.selected === node ? 'is-selected' : ''}`} aria-label="Answer" aria-busy=${isRunning}>
      ${answer.reasoning && html`<details><summary>Thoughts</summary><p class="text">${visible(answer.reasoning)}</p></details>`}
      ${answer.content && html`<p class="text">${visible(answer.content)}</p>`}
      ${answer.calls.map(
        (call, index) =>
          html`<${Call} key=${index} node=${node} index=${index} store=${store} isOpen=${isLast} />`,
      )}
      ${isLast &&
      answer.calls.length > 0 &&
      html`
        <button type="button" class="primary" disabled=${!areComplete} onClick=${() => store.sendResults(node)}>
          Send ${answer.calls.length === 1 ? 'result' : 'results'}
        </button>
      `}
      ${answer.warning && html`<p class="warning">${visible(answer.warning)}</p>`}
      ${answer.state === 'failed' &&
      html`<p class="problem" role="alert">
        ${answer.error.param && html`<code>${answer.error.param}</code>`} ${visible(answer.error.message)}
      </p>`}
      <footer>
        <${Branches} node=${node} store=${store} />
        ${isRunning ? html`<span class="pulse">answering</span>` : html`<${Summary} answer=${answer} />`}
        <button type="button" class="quiet" onClick=${inspect}>Inspect</button>
        <button type="button" class="quiet" disabled=${state.running} onClick=${() => store.regenerate(node)}>
          Regenerate
        </button>
      </footer>
    </article>
  `;
}

function Summary({ answer }) {
  const decision = decisionOf(answer);
  const facts = [answer.state === 'complete' ? outcomeOf(answer) : answer.state];
  if (cutReasonOf(answer)) facts.push(`ended by ${cutReasonOf(answer)}`);
  const earlier = answer.facts?.earlier_attempts.length ?? 0;
  if (earlier) facts.push(count(earlier + 1, 'attempt'));
  if (answer.usage) facts.push(count(answer.usage.completion_tokens, 'token'));
  if (answer.seconds) facts.push(milliseconds(answer.seconds * 1000));
  if (decision?.call) facts.push(`P(call) ${percent(decision.call.probability)}`);
  return html`<span class="summary">${facts.join(' · ')}</span>`;
}

function Results({ node, store }) {
  return html`
    <article class="results" aria-label="Results">
      ${node.messages.map(
        (message) => html`
          <div key=${message.tool_call_id}>
            <h3>Result of <code>${message.name}</code></h3>
            <pre class="text">${visible(message.content)}</pre>
          </div>
        `,
      )}
      <footer>
        <${Branches} node=${node} store=${store} />
        <button type="button" class="quiet" disabled=${store.state.running} onClick=${() => store.editResults(node)}>
          Edit results
        </button>
      </footer>
    </article>
  `;
}

const NODES = { question: Question, answer: Answer, results: Results };

function Composer({ store }) {
  const { running, draft } = store.state;
  const submit = (event) => {
    event.preventDefault();
    store.ask(draft);
  };
  const onKeyDown = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
    if (event.key === 'Escape') store.stop();
  };
  return html`
    <form class="composer" onSubmit=${submit}>
      <label for="question">Question</label>
      <textarea
        id="question"
        rows="2"
        placeholder="What is the weather in Paris?"
        aria-describedby="question-keys"
        value=${draft}
        onInput=${(event) => store.change({ draft: event.target.value })}
        onKeyDown=${onKeyDown}
      ></textarea>
      <div class="row">
        <span class="note" id="question-keys">Enter asks, Shift+Enter begins a line, Escape stops</span>
        ${running
          ? html`<button type="button" class="primary" onClick=${() => store.stop()}>Stop</button>`
          : html`<button type="submit" class="primary" disabled=${!draft.trim()}>Ask</button>`}
      </div>
    </form>
  `;
}
