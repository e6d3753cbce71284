// The editor of the tools: JSON, with mistakes by path, and what each tool costs.
import { AddTools } from './add_tools.js';
import { postJson } from './api.js';
import { html, useEffect, useRef, useState } from './html.js';
import { McpTools } from './mcp.js';
import { lineOf, locate, parsePath } from './position.js';
import { buildRequest } from './request.js';
import { count, parseJson, visible } from './text.js';

const WAIT_MS = 300; // after the last key
const MAX_COUNTED = 24; // tools whose tokens are counted one by one
const QUESTION = [{ role: 'user', content: 'Hello!' }];

export function Tools({ store }) {
  const { toolsText, model } = store.state;
  const editor = useRef();
  const report = useReport(toolsText);
  const tokens = useTokens(report, model, store);
  const show = (path) => {
    const place = locate(toolsText, parsePath(path).slice(1)); // the first part is `tools`
    if (!place) return;
    editor.current.focus();
    editor.current.setSelectionRange(...place);
    const lines = toolsText.split('\n').length;
    const { line } = lineOf(toolsText, place[0]);
    editor.current.scrollTop = ((line - 4) / lines) * editor.current.scrollHeight;
  };
  const tidy = () => store.setTools(JSON.stringify(JSON.parse(toolsText), null, 2));
  return html`
    <div class="row">
      <h2><label for="tools-text">Tools as JSON</label></h2>
      <button type="button" class="quiet" disabled=${parseJson(toolsText).error} onClick=${tidy}>Tidy</button>
      <button type="button" class="quiet" onClick=${() => store.setTools('[]')}>Clear</button>
    </div>
    <textarea
      id="tools-text"
      class="code editor"
      rows="16"
      spellcheck="false"
      autocapitalize="off"
      aria-describedby="lint-summary"
      ref=${editor}
      value=${toolsText}
      onInput=${(event) => store.setTools(event.target.value)}
    ></textarea>
    <${Findings} report=${report} onShow=${show} text=${toolsText} />
    <${AddTools} store=${store} isReady=${report.state !== 'no JSON'} />
    <${McpTools} store=${store} isReady=${report.state !== 'no JSON'} />
    <${Costs} report=${report} tokens=${tokens} />
    ${report.grammar &&
    html`
      <details>
        <summary>Grammar of their calls, as GBNF</summary>
        <pre class="code" tabindex="0" role="group" aria-label="Grammar">${visible(report.grammar)}</pre>
      </details>
    `}
  `;
}

// Has the server check the tools, a moment after the last change of their text.
function useReport(text) {
  const [report, change] = useState({ state: 'waiting' });
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(async () => {
      const { value, error } = parseJson(text.trim() ? text : '[]');
      if (error) return change({ state: 'no JSON', message: error });
      const tools = Array.isArray(value) ? value : [value];
      const wrong = tools.findIndex((tool) => tool === null || typeof tool !== 'object' || Array.isArray(tool));
      if (wrong >= 0) return change({ state: 'failed', message: 'each tool must be an object', path: `tools[${wrong}]` });
      try {
        const body = { tools, on_unsupported: 'check', grammar: true };
        change({ state: 'checked', source: tools, ...(await postJson('/v1/tools/lint', body, controller.signal)) });
      } catch (failure) {
        if (failure.name !== 'AbortError') change({ state: 'failed', message: failure.message, path: failure.param });
      }
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [text]);
  return report;
}

// Counts the tokens of the prompt with all tools, and without each of them.
function useTokens(report, model, store) {
  const [tokens, change] = useState(null);
  useEffect(() => {
    change(null);
    const { source } = report;
    if (!report.ok || !source.length || source.length > MAX_COUNTED) return undefined;
    const controller = new AbortController();
    const countWith = async (tools) => {
      const body = buildRequest(model, QUESTION, tools, { ...store.state.settings, tool_choice: 'auto' });
      return (await postJson('/v1/chat/completions/input_tokens', body, controller.signal)).input_tokens;
    };
    const run = async () => {
      const whole = await countWith(source);
      const rest = [];
      for (const tool of source) rest.push(await countWith(source.filter((other) => other !== tool)));
      change({ each: rest.map((other) => whole - other), all: whole - (await countWith([])) });
    };
    run().catch(() => {}); // the costs stay unknown: the report has the mistakes
    return () => controller.abort();
  }, [report, model]);
  return tokens;
}

const KINDS = [
  ['problems', ''],
  ['unenforced', 'checked when the call is complete: '],
  ['changes', 'read differently: '],
];

function findingsOf(report) {
  const found = (report.tools ?? []).flatMap((tool) =>
    KINDS.flatMap(([kind, prefix]) =>
      tool[kind].map(({ level, path, message }) => ({ level, path, message: prefix + message })),
    ),
  );
  return report.state === 'failed' ? [{ level: 'error', path: report.path ?? 'tools', message: report.message }] : found;
}

function Findings({ report, onShow, text }) {
  if (report.state === 'no JSON') return html`<p class="problem" id="lint-summary" role="status">${report.message}</p>`;
  const findings = findingsOf(report);
  const errors = findings.filter(({ level }) => level === 'error').length;
  const warnings = findings.length - errors;
  const summary =
    report.state === 'waiting'
      ? 'checking …'
      : findings.length
        ? [errors && count(errors, 'error'), warnings && count(warnings, 'warning')].filter(Boolean).join(', ')
        : `${count(report.tools.length, 'tool')}, no mistakes`;
  return html`
    <p id="lint-summary" role="status" class=${errors ? 'problem' : 'note'}>${summary}</p>
    <ul class="findings">
      ${findings.map(
        ({ level, path, message }) => html`
          <li class=${level}>
            <button type="button" class="path" title="Show it in the editor" onClick=${() => onShow(path)}>
              ${visible(path)}
            </button>
            <span class="note">${lineText(text, path)}</span>
            <span>${level}: ${visible(message)}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

function lineText(text, path) {
  const place = locate(text, parsePath(path).slice(1));
  return place ? `line ${lineOf(text, place[0]).line}` : '';
}

function Costs({ report, tokens }) {
  if (report.state !== 'checked' || !report.tools.length) return null;
  return html`
    <h3>What each tool costs</h3>
    <table>
      <thead>
        <tr>
          <th scope="col">Tool</th>
          <th scope="col" class="number">Tokens</th>
          <th scope="col" class="number">Grammar, bytes</th>
          <th scope="col" class="number">Compiled in</th>
        </tr>
      </thead>
      <tbody>
        ${report.tools.map(
          (tool, index) => html`
            <tr key=${index}>
              <th scope="row"><code>${visible(tool.name)}</code></th>
              <td class="number">${tokens?.each[index] ?? '–'}</td>
              <td class="number">${tool.grammar_bytes?.toLocaleString('en') ?? 'refused'}</td>
              <td class="number">${tool.compile_ms === null ? '–' : `${tool.compile_ms.toFixed(1)} ms`}</td>
            </tr>
          `,
        )}
      </tbody>
      ${tokens &&
      html`<tfoot>
        <tr><th scope="row">all, with their heading</th><td class="number">${tokens.all}</td><td></td><td></td></tr>
      </tfoot>`}
    </table>
  `;
}
