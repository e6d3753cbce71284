// What differs between two lists of tokens: the indices on both sides that a longest common subsequence leaves out.
const MAX_TABLE = 4_000_000; // cells

export function differences(left, right) {
  const a = left.map(({ text }) => text);
  const b = right.map(({ text }) => text);
  let begin = 0;
  while (begin < a.length && begin < b.length && a[begin] === b[begin]) begin++;
  let [endA, endB] = [a.length, b.length];
  while (endA > begin && endB > begin && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  const [onlyA, onlyB] = [range(begin, endA), range(begin, endB)];
  if ((endA - begin) * (endB - begin) <= MAX_TABLE) removeCommon(a, b, begin, endA, endB, onlyA, onlyB);
  return [onlyA, onlyB];
}

const range = (begin, end) => new Set(Array.from({ length: end - begin }, (_, index) => begin + index));

function removeCommon(a, b, begin, endA, endB, onlyA, onlyB) {
  const width = endB - begin + 1;
  const lengths = new Uint16Array((endA - begin + 1) * width); // of the common part of both rests
  const at = (i, j) => (i - begin) * width + (j - begin);
  for (let i = endA - 1; i >= begin; i--) {
    for (let j = endB - 1; j >= begin; j--) {
      lengths[at(i, j)] =
        a[i] === b[j] ? lengths[at(i + 1, j + 1)] + 1 : Math.max(lengths[at(i + 1, j)], lengths[at(i, j + 1)]);
    }
  }
  for (let i = begin, j = begin; i < endA && j < endB; ) {
    if (a[i] === b[j]) {
      onlyA.delete(i++);
      onlyB.delete(j++);
    } else if (lengths[at(i + 1, j)] >= lengths[at(i, j + 1)]) i++;
    else j++;
  }
}
