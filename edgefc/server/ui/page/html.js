// The page's components are functions that return html`…`. Values in it become text, never HTML.
import { h } from './vendor/preact.js';
import htm from './vendor/htm.js';

export { render } from './vendor/preact.js';
export { useEffect, useId, useMemo, useRef, useState } from './vendor/hooks.js';
export const html = htm.bind(h);
