// Texts of models, tools and users, as they are shown.
import { html } from './html.js';

// Control characters, and those that are invisible or reorder what stands around them.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/u;
const NAMES = { '\u0000': 'NUL', '\u0007': 'BEL', '\u0008': 'BS', '\r': 'CR', '\u001b': 'ESC', '\u007f': 'DEL' };

// Writes the hidden characters of JSON text as escapes, which mean the same.
export const escaped = (json) =>
  json.replaceAll(new RegExp(HIDDEN, 'gu'), (character) =>
    [...Array(character.length).keys()].map((at) => hexadecimal(character.charCodeAt(at), '\\u', 4)).join(''),
  );

export const hexadecimal = (number, prefix, digits) => prefix + number.toString(16).padStart(digits, '0');

const codePoint = (character) => 'U+' + character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');

// Splits a text into strings and chips that name its hidden characters.
export function visible(text) {
  const parts = [];
  let rest = String(text);
  for (let match = HIDDEN.exec(rest); match; match = HIDDEN.exec(rest)) {
    parts.push(rest.slice(0, match.index));
    const name = NAMES[match[0]] ?? codePoint(match[0]);
    parts.push(html`<span class="hidden-character" title=${codePoint(match[0])}>${name}</span>`);
    rest = rest.slice(match.index + match[0].length);
  }
  parts.push(rest);
  return parts;
}

// Shows the blanks of a token, which decide how words are cut.
export const withBlanks = (text) => visible(text.replaceAll(' ', '·').replaceAll('\n', '↵').replaceAll('\t', '⇥'));

export function percent(probability) {
  if (probability === null || probability === undefined) return '–';
  const value = probability * 100;
  if (value > 99.99 && value < 100) return '> 99.99 %';
  if (value > 0 && value < 0.01) return '< 0.01 %';
  return `${value.toFixed(value >= 99.95 || value < 1 ? 2 : 1)} %`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return '–';
  return value < 1000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(2)} s`;
}

export const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

// Gives each token its text. A character whose bytes are in several tokens belongs to the last of them.
export function decodePieces(tokens) {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  return tokens.map(({ piece, ...rest }) => {
    const bytes = typeof piece === 'string' ? encoder.encode(piece) : Uint8Array.from(piece);
    return { ...rest, text: decoder.decode(bytes, { stream: true }) };
  });
}

export function parseJson(text) {
  try {
    return { value: JSON.parse(text), error: null };
  } catch (error) {
    return { value: undefined, error: error.message };
  }
}
