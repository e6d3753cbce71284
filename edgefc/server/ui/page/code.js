// The selected request as code, and the answer as files.
import { getKey } from './api.js';
import { html, useRef, useState } from './html.js';
import { download, evalCase, transcriptLine } from './save.js';
import { curl, javascript, python } from './snippets.js';

const LANGUAGES = [
  ['curl', curl],
  ['Python', python],
  ['JavaScript', javascript],
];

export function Code({ store }) {
  const { selected, models } = store.state;
  if (!selected) return html`<p class="note">Ask something: its request appears here as code.</p>`;
  const model = models.find(({ id }) => id === selected.body.model);
  const testCase = selected.answer.state === 'complete' ? evalCase(selected) : null;
  const save = (name, line) => () => download(name, `${line}\n`);
  return html`
    <h2>This request as code</h2>
    ${LANGUAGES.map(
      ([name, write]) => html`
        <${Snippet} key=${name} name=${name} text=${write(location.origin, selected.body, Boolean(getKey()))} store=${store} />
      `,
    )}
    <h2>Save</h2>
    <div class="row">
      <button
        type="button"
        disabled=${!model || selected.answer.state !== 'complete'}
        onClick=${() => download('transcript.jsonl', `${transcriptLine(selected, model)}\n`)}
      >
        Save as transcript
      </button>
      <button type="button" disabled=${!testCase} onClick=${save('case.jsonl', testCase)}>Save as case</button>
    </div>
    <p class="note">
      A transcript is read by <code>edgefc transcripts</code>: datasets, and replays as a test. A case has this answer as
      the right one: <code>edgefc eval --suite demo --data case.jsonl</code>. There is a rule for calls, clarifications,
      refusals, and for answers with figures.
    </p>
  `;
}

function Snippet({ name, text, store }) {
  const block = useRef();
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      store.change({ status: `${name} copied` });
      setTimeout(() => setCopied(false), 1500);
    } catch {
      getSelection().selectAllChildren(block.current); // the clipboard is only for pages of this machine, or with TLS
      store.change({ status: 'Selected: copy it with Ctrl+C' });
    }
  };
  return html`
    <section aria-label=${name}>
      <div class="row">
        <h3>${name}</h3>
        <button type="button" class="quiet" aria-label=${`Copy as ${name}`} onClick=${copy}>
          ${isCopied ? 'Copied' : 'Copy'}
        </button>
      </div>
      <pre class="code" ref=${block} tabindex="0" role="group" aria-label=${`${name} code`}>${text}</pre>
    </section>
  `;
}
