// Where a path such as tools[0].function.name stands in JSON text.

export const parsePath = (text) =>
  [...text.matchAll(/\[(\d+)\]|\["([^"]*)"\]|([^.[\]]+)/g)].map(([, index, quoted, name]) =>
    index === undefined ? (quoted ?? name) : Number(index),
  );

// Returns [begin, end] of the value at a path, or of the deepest one on its way; null for text that is no JSON.
export function locate(text, path) {
  const scanner = new Scanner(text, path);
  try {
    scanner.value(0, true);
  } catch {
    return null;
  }
  return scanner.found;
}

export function lineOf(text, offset) {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1).length + 1 };
}

class Scanner {
  constructor(text, path) {
    this.text = text;
    this.path = path;
    this.at = 0;
    this.found = null;
    this.depth = -1;
  }

  blanks() {
    while (/\s/.test(this.text[this.at] ?? '')) this.at++;
  }

  expect(character) {
    this.blanks();
    if (this.text[this.at] !== character) throw new SyntaxError(`expected ${character}`);
    this.at++;
  }

  // Reads a value; `isOnPath`: all keys that lead to it are those of the path.
  value(depth, isOnPath) {
    this.blanks();
    const begin = this.at;
    const first = this.text[this.at];
    if (first === '{' || first === '[') this.items(first, depth, isOnPath);
    else if (first === '"') this.string();
    else this.match(/[-+.\w]+/y);
    if (isOnPath && depth > this.depth) {
      this.found = [begin, this.at];
      this.depth = depth;
    }
  }

  items(open, depth, isOnPath) {
    const close = open === '{' ? '}' : ']';
    this.at++;
    for (let index = 0; ; index++) {
      this.blanks();
      if (this.text[this.at] === close) break;
      if (index) this.expect(',');
      this.blanks();
      const key = open === '{' ? this.string() : index;
      if (open === '{') this.expect(':');
      this.value(depth + 1, isOnPath && this.path[depth] === key);
    }
    this.at++;
  }

  string() {
    return JSON.parse(this.match(/"(?:[^"\\]|\\.)*"/sy));
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const [found] = pattern.exec(this.text);
    this.at += found.length;
    return found;
  }
}
