// A conversation with its branches. Each node has one or more messages; `chosen` leads to the node after it.

export class Tree {
  constructor() {
    this.root = { id: 0, parent: null, children: [], chosen: null };
    this.size = 0;
  }

  add(parent, data) {
    const node = { id: ++this.size, parent, children: [], chosen: null, ...data };
    parent.children.push(node);
    parent.chosen = node;
    return node;
  }

  // The nodes of the branch that is shown, from the first question on.
  path() {
    const nodes = [];
    for (let node = this.root.chosen; node; node = node.chosen) nodes.push(node);
    return nodes;
  }

  last() {
    return this.path().at(-1) ?? this.root;
  }

  // Shows the branch before or after a node's own.
  turn(node, step) {
    const siblings = node.parent.children;
    const next = siblings[siblings.indexOf(node) + step];
    if (next) node.parent.chosen = next;
  }
}

// The messages of a node and of all before it.
export function messagesUpTo(node) {
  const messages = [];
  for (let each = node; each?.parent; each = each.parent) messages.unshift(...each.messages);
  return messages;
}
