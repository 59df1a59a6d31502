/* Which videos of a sweep are in view, and in which order: the same rules as `SweepView.shown` has in Python. */

export function cellValue(cell, column) {
  return column in cell.numbers ? cell.numbers[column] : cell.settings[column];
}

const isUnknown = (value) => value === undefined || value === null;

/* Below 0 where a comes first: numbers by size, everything else by its letters, what is not known last. */
function compareValues(a, b, descending) {
  if (isUnknown(a) || isUnknown(b)) return isUnknown(a) - isUnknown(b);
  const [x, y] = typeof a === "number" && typeof b === "number" ? [a, b] : [String(a), String(b)];
  const order = x < y ? -1 : x > y ? 1 : 0;
  return descending ? -order : order;
}

/* state: {sort, descending, selected, most}, as SweepGrid has it. */
export function shownCells(cells, { sort, descending, selected, most }) {
  const chosen = selected?.length ? cells.filter((cell) => selected.includes(cell.key)) : [...cells];
  if (sort) chosen.sort((a, b) => compareValues(cellValue(a, sort), cellValue(b, sort), descending));
  return chosen.slice(0, most || 1e9);
}
