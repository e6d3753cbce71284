// Tools of the MCP servers that the server was started with. Nothing of them runs before its button is pressed.
import { getJson } from './api.js';
import { html, useState } from './html.js';
import { visible } from './text.js';

const sameTool = (one, other) => JSON.stringify(one.function ?? one) === JSON.stringify(other.function ?? other);

// Returns { server, name, badge } for a tool of an MCP server, {} for an example tool, null for any other.
export function runnerOf(tool, { examples, mcp }) {
  if (!tool) return null;
  const found = mcp.tools.find((each) => sameTool(each.tool, tool));
  return found ?? (examples.some((each) => sameTool(each, tool)) ? {} : null);
}

export function McpTools({ store, isReady }) {
  const { mcp, tools } = store.state;
  const [problem, setProblem] = useState('');
  const load = async () => {
    try {
      store.change({ mcp: await getJson('/v1/tools/mcp') });
      setProblem('');
    } catch (error) {
      setProblem(error.message);
    }
  };
  const onToggle = (event) => event.currentTarget.open && load();
  return html`
    <details onToggle=${onToggle}>
      <summary>Add tools of MCP servers</summary>
      ${problem && html`<p class="note" role="status">${visible(problem)}</p>`}
      <ul class="findings">
        ${mcp.tools.map((each) => {
          const isAdded = tools.some((tool) => tool && sameTool(tool, each.tool));
          return html`
            <li key=${`${each.server} ${each.name}`}>
              <button type="button" class="quiet" disabled=${isAdded || !isReady} onClick=${() => store.addTools([each.tool])}>
                ${isAdded ? 'Added' : 'Add'} <span class="for-screen-readers">${each.name}</span>
              </button>
              <code>${visible(each.name)}</code>
              <span class="mark is-cached">${visible(each.server)}</span>
              <span class="mark">${each.badge}</span>
            </li>
          `;
        })}
        ${mcp.omitted.map(
          ({ server, name, reason }) => html`
            <li class="warning"><code>${visible(name || server)}</code> left out: ${visible(reason)}</li>
          `,
        )}
      </ul>
    </details>
  `;
}
