// What the reader decided about each suspect, and the file made of it.

const COLUMNS = [
  "index",
  "path",
  "given_label",
  "suggested_label",
  "label_quality",
  "mark",
  "corrected_label",
];
const MARKS = { right: "✓ Right", wrong: "✗ Wrong", unsure: "? Unsure" };

// A browser may refuse storage: private windows, blocked cookies, a full disk.
class Store {
  constructor(key) {
    this.key = `sklearn-turn-report:${key}`;
    this.works = true;
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      this.works = false;
      return {};
    }
  }

  write(value) {
    try {
      localStorage.setItem(this.key, JSON.stringify(value));
      this.works = true;
    } catch {
      this.works = false;
    }
  }
}

class Marks {
  constructor(data, onChange) {
    this.data = data;
    this.onChange = onChange;
    this.store = new Store(data.key);
    this.unsaved = false;
    // By index of the sample, so that they outlast another fit on the same data.
    this.byIndex = new Map();
    const labels = new Set([...data.classes, ""]);
    const row = new Map(data.index.map((index, i) => [String(index), i]));
    for (const [index, kept] of Object.entries(this.store.read())) {
      const known = row.has(index) && Object.hasOwn(MARKS, kept?.mark);
      const label = labels.has(kept?.label) ? kept.label : null;
      if (known) this.byIndex.set(Number(index), { mark: kept.mark, label });
    }
    this.store.write(this.store.read()); // tells whether it works
  }

  get size() {
    return this.byIndex.size;
  }

  // How many are kept of samples that this page does not list.
  get elsewhere() {
    return Object.keys(this.store.read()).filter((i) => !this.byIndex.has(Number(i)))
      .length;
  }

  mark(row) {
    return this.byIndex.get(this.data.index[row])?.mark ?? null;
  }

  // The label a wrong one should have: as chosen, or as suggested.
  label(row) {
    const { given, suggested, classes, index } = this.data;
    const chosen = this.byIndex.get(index[row])?.label;
    if (chosen != null) return chosen;
    return suggested[row] === given[row] ? "" : classes[suggested[row]];
  }

  set(row, mark, label = null) {
    const index = this.data.index[row];
    // What is seen is kept: another fit may suggest something else.
    const seen = mark === "wrong" ? (label ?? this.label(row)) : label;
    if (mark === null) this.byIndex.delete(index);
    else this.byIndex.set(index, { mark, label: seen });
    this.write(index);
    this.unsaved = true;
    this.onChange();
  }

  // Marks of samples that this page does not list, or that were made on another page
  // of these data, stay as they are.
  write(index) {
    const { [index]: _, ...others } = this.store.read();
    const mark = this.byIndex.get(index);
    this.store.write(mark ? { ...others, [index]: mark } : others);
  }

  csv() {
    const { index, path, given, suggested, quality, classes } = this.data;
    const lines = [COLUMNS];
    index.forEach((sample, row) => {
      const mark = this.mark(row);
      if (mark === null) return;
      const labels = { right: classes[given[row]], wrong: this.label(row), unsure: "" };
      lines.push([
        sample,
        path ? path[row] : "",
        classes[given[row]],
        classes[suggested[row]],
        quality[row],
        mark,
        labels[mark],
      ]);
    });
    // The mark at the start tells spreadsheets that it is UTF-8.
    return "\ufeff" + lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
  }

  download() {
    const url = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    const link = el("a", { href: url, download: "label_marks.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    this.unsaved = false;
  }
}

// RFC 4180; spaces at the ends are quoted too, which some readers would strip. What a
// spreadsheet would compute stands behind an apostrophe.
function quoted(value) {
  const isFormula = /^['=+\-@\t\r]/.test(value) && Number.isNaN(Number(value));
  const text = isFormula ? `'${value}` : String(value);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
