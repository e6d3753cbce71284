// A request as curl, Python and JavaScript write it.
import { PATH } from './request.js';
import { escaped, hexadecimal } from './text.js';

const KEY_NAME = 'EDGEFC_API_KEY';
const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(origin, body, needsKey) {
  const header = needsKey ? ` \\\n  -H "Authorization: Bearer $${KEY_NAME}"` : '';
  return `curl ${origin}${PATH}${header} \\\n  --json ${shellQuoted(escaped(JSON.stringify(body)))}\n`;
}

export function python(origin, body, needsKey) {
  const key = needsKey ? `os.environ["${KEY_NAME}"]` : '"none"';
  const known = Object.entries(body).filter(([name]) => !isExtension(name));
  const extra = Object.entries(body).filter(([name]) => isExtension(name));
  const lines = known.map(([name, value]) => `    ${name}=${literal(value)},`);
  if (extra.length) lines.push(`    extra_body=${literal(Object.fromEntries(extra))},`);
  return (
    `${needsKey ? 'import os\n\n' : ''}from openai import OpenAI\n\n` +
    `client = OpenAI(base_url="${origin}/v1", api_key=${key})\n` +
    `answer = client.chat.completions.create(\n${lines.join('\n')}\n)\nprint(answer.choices[0].message)\n`
  );
}

export function javascript(origin, body, needsKey) {
  const key = needsKey ? `process.env.${KEY_NAME}` : '"none"';
  return (
    `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${origin}/v1", apiKey: ${key} });\n` +
    `const answer = await client.chat.completions.create(${escaped(JSON.stringify(body, null, 2))});\n` +
    'console.log(answer.choices[0].message);\n'
  );
}

const isExtension = (name) => name.startsWith('x_edgefc') || name === 'chat_template_kwargs';

// Writes a JSON value as Python.
function literal(value) {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`;
  if (typeof value === 'object') {
    return `{${Object.entries(value).map(([name, each]) => `${literal(name)}: ${literal(each)}`).join(', ')}}`;
  }
  // JSON's escapes are Python's, except for the two halves of a character outside of the basic plane.
  return escaped(JSON.stringify(value)).replaceAll(/\\u(d[89ab]..)\\u(d[c-f]..)/gi, (_, high, low) =>
    hexadecimal(String.fromCharCode(parseInt(high, 16), parseInt(low, 16)).codePointAt(0), '\\U', 8),
  );
}
