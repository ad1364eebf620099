// Histogram of the losses, heat map of the noise, table of the classes.

const sum = (rows) => rows[0].map((_, i) => rows.reduce((total, r) => total + r[i], 0));

// Numbers 1, 2 and 5 times powers of ten, about evenly spaced for square roots.
function rootTicks(top, n) {
  const chosen = new Set([0]);
  for (let i = 1; i <= n; i += 1) {
    const wanted = top * (i / n) ** 2;
    const unit = 10 ** Math.floor(Math.log10(Math.max(wanted, 1)));
    const steps = [1, 2, 5, 10].map((step) => step * unit);
    steps.sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted));
    chosen.add(steps[0]);
  }
  return [...chosen].filter((tick) => tick <= top);
}

class Losses {
  constructor(data) {
    this.data = data;
    const { losses } = data;
    byId("losses-panel").hidden = losses === null;
    if (losses === null) return;
    this.mixtures = losses.low?.length ?? 0;
    byId("losses-text").textContent =
      "How much the given labels surprise the model. Right labels crowd at the left. " +
      (this.mixtures
        ? "Lines: what the two fitted components expect in each bar; dotted: the loss " +
          "above which a label is a suspect. "
        : "") +
      "The scale is that of square roots, so that few samples are seen beside many.";
    const select = byId("losses-class");
    options(select, [["", "all"], ...data.classes.map((name, code) => [code, name])]);
    const redraw = responsive(byId("losses-chart"), (width) => this.draw(width));
    select.addEventListener("change", redraw);
    const keys = { clean: "not suspect", flagged: "suspect" };
    if (this.mixtures) Object.assign(keys, { low: "low component", high: "high component" });
    byId("losses-legend").replaceChildren(
      ...Object.entries(keys).map(([key, text]) => el("span", { class: `key ${key}` }, text)),
    );
  }

  // Counts of the class chosen, or of all.
  counts(name) {
    const rows = this.data.losses[name];
    const code = byId("losses-class").value;
    if (code === "") return sum(rows);
    return rows.length === 1 && rows.length < this.data.classes.length
      ? rows[0].map(() => 0) // one mixture for all says nothing of a class
      : rows[Number(code)];
  }

  thresholds() {
    const { thresholds } = this.data.losses;
    if (!thresholds) return [];
    const code = byId("losses-class").value;
    const chosen = code === "" || thresholds.length === 1 ? thresholds : [thresholds[code]];
    return chosen.filter((value) => value !== null).sort((a, b) => a - b);
  }

  draw(width) {
    const { edges } = this.data.losses;
    const height = 220;
    const [left, right, top, bottom] = [44, 8, 8, 38];
    const [clean, flagged] = [this.counts("clean"), this.counts("flagged")];
    const curves = this.mixtures ? ["low", "high"].map((name) => this.counts(name)) : [];
    const most = Math.max(1, ...clean, ...flagged, ...curves.flat());
    const span = edges.at(-1) - edges[0] || 1;
    const x = (loss) => left + ((width - left - right) * (loss - edges[0])) / span;
    const y = (n) => height - bottom - (height - top - bottom) * Math.sqrt(n / most);
    const bars = (counts, name) =>
      counts.map((n, i) =>
        n
          ? svg("rect", {
              class: name,
              x: x(edges[i]),
              y: y(n),
              width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 1),
              height: y(0) - y(n),
            })
          : null,
      );
    const curve = (counts, name) =>
      svg("polyline", {
        class: name,
        points: counts
          .flatMap((n, i) => [`${x(edges[i])},${y(n)}`, `${x(edges[i + 1])},${y(n)}`])
          .join(" "),
      });
    const axis = [
      ...rootTicks(most, 4).map((n) =>
        svg(
          "g",
          {},
          svg("line", { class: "rule", x1: left, x2: width - right, y1: y(n), y2: y(n) }),
          svg("text", { x: left - 6, y: y(n) + 4, "text-anchor": "end" }, count(n)),
        ),
      ),
      ...ticks(edges[0], edges.at(-1), 6).map((loss) =>
        svg(
          "text",
          { x: x(loss), y: height - bottom + 16, "text-anchor": "middle" },
          loss,
        ),
      ),
      svg(
        "text",
        { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" },
        "loss of the given label (nats)",
      ),
    ];
    const thresholds = this.thresholds();
    const marked = [];
    if (thresholds.length) {
      const [low, high] = [x(thresholds[0]), x(thresholds.at(-1))];
      const middle = x(thresholds[Math.floor(thresholds.length / 2)]);
      const box = { y: top, height: height - top - bottom };
      marked.push(
        svg("rect", { class: "range", x: low, width: high - low, ...box }),
        svg("line", {
          class: "threshold",
          x1: middle,
          x2: middle,
          y1: top,
          y2: height - bottom,
        }),
      );
    }
    const total = (counts) => counts.reduce((a, b) => a + b, 0);
    const label = `Histogram: ${total(clean)} labels not suspect, ${total(flagged)} suspect`;
    return svg(
      "svg",
      { width, height, role: "img", "aria-label": label },
      axis,
      marked,
      bars(clean, "clean"),
      bars(flagged, "flagged"),
      ["low", "high"].map((name, i) => (curves[i] ? curve(curves[i], name) : null)),
    );
  }
}

function drawMap(data, width, onChoose) {
  const { classes, transitions } = data;
  const n = classes.length;
  const named = n <= 40;
  // Names may differ at the end only: it stays.
  const short = (name) =>
    name.length > 16 ? `${name.slice(0, 10)}…${name.slice(-5)}` : name;
  const longest = Math.max(...classes.map((name) => short(name).length));
  const margin = named ? Math.min(7 * longest + 18, 130) : 4;
  const room = Math.min(width, 900) - margin - 2;
  const cell = Math.min(44, Math.max(room / n, named ? 16 : 3));
  const numbers = cell >= 24;
  const most = Math.max(...transitions.share, 0);
  const mean = transitions.share.reduce((a, b) => a + b, 0) / (n * n - n);
  // Noise that is the same everywhere should look faint.
  const top = Math.max(most, 4 * mean, 1e-9);
  const place = (code) => margin + code * cell;
  const square = (row, column, share, right) => {
    const text = share >= 0.005 ? Math.round(100 * share) : "";
    const title = right
      ? `${classes[row]}: ${percent(share)} rightly labelled`
      : `${percent(share)} of ${classes[row]} are labelled ${classes[column]}`;
    const box = { x: place(column), y: place(row), width: cell, height: cell };
    return svg(
      "g",
      right ? {} : { class: "cell", onclick: () => onChoose(column, row) },
      svg("title", {}, title),
      svg("rect", {
        ...box,
        class: right ? "diagonal" : "wrong",
        "fill-opacity": right ? 1 : Math.min(1, share / top) * 0.6,
      }),
      numbers && text !== ""
        ? svg(
            "text",
            {
              x: place(column) + cell / 2,
              y: place(row) + cell / 2 + 4,
              "text-anchor": "middle",
            },
            text,
          )
        : null,
    );
  };
  const names = (code) => {
    const middle = place(code) + cell / 2;
    return [
      svg("text", { x: margin - 5, y: middle + 4, "text-anchor": "end" }, short(classes[code])),
      svg(
        "text",
        { transform: `translate(${middle + 4} ${margin - 5}) rotate(-90)` },
        short(classes[code]),
      ),
    ];
  };
  const size = margin + n * cell + 1;
  const { given, share } = transitions;
  return svg(
    "svg",
    {
      width: size,
      height: size,
      class: "map",
      role: "img",
      "aria-label": `Heat map of ${n} classes; the corrections above list its main cells`,
    },
    svg("rect", { class: "frame", x: margin, y: margin, width: n * cell, height: n * cell }),
    classes.map((_, code) => square(code, code, transitions.diagonal[code], true)),
    transitions.true.map((row, i) => square(row, given[i], share[i], false)),
    named ? classes.map((_, code) => names(code)) : null,
  );
}

// Pairs of given and suggested label, the most frequent first.
function countPairs(data) {
  const pairs = new Map();
  data.given.forEach((given, row) => {
    const suggested = data.suggested[row];
    if (given === suggested) return;
    const key = given * data.classes.length + suggested;
    const pair = pairs.get(key) ?? { given, suggested, n: 0 };
    pair.n += 1;
    pairs.set(key, pair);
  });
  return [...pairs.values()].sort((a, b) => b.n - a.n);
}

class ClassTable {
  constructor(data, pairs, onChoose) {
    const { samples, issues, noise_rate: rates } = data.per_class;
    const first = new Map();
    for (const pair of pairs) if (!first.has(pair.given)) first.set(pair.given, pair);
    this.rows = data.classes.map((name, code) => ({
      code,
      name,
      samples: samples[code],
      issues: issues[code],
      share: issues[code] / Math.max(samples[code], 1),
      rate: rates[code],
      pair: first.has(code) ? data.classes[first.get(code).suggested] : "",
      n: first.get(code)?.n,
    }));
    this.onChoose = onChoose;
    this.key = "rate";
    this.down = true;
    this.render();
  }

  columns() {
    return [
      ["name", "Class", (row) => this.button(row)],
      ["samples", "Samples", (row) => count(row.samples)],
      ["issues", "Suspects", (row) => count(row.issues)],
      ["share", "Share", (row) => percent(row.share)],
      ["rate", "Noise rate", (row) => (row.rate === null ? "–" : percent(row.rate))],
      [
        "pair",
        "Most often suggested",
        (row) => (row.n ? [el("bdi", {}, row.pair), ` (${count(row.n)})`] : ""),
      ],
    ];
  }

  button(row) {
    const choose = () => this.onChoose(row.code);
    return el("button", { type: "button", class: "link", onclick: choose }, row.name);
  }

  sort(key) {
    this.down = this.key === key ? !this.down : key !== "name";
    this.key = key;
    this.render();
    byId("class-table").querySelector(`[data-key="${key}"]`).focus();
  }

  render() {
    const sign = this.down ? -1 : 1;
    const order = (a, b) =>
      typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    const rows = [...this.rows].sort((a, b) => sign * order(a[this.key], b[this.key]));
    const heading = ([key, title]) => {
      const sorted = key === this.key ? (this.down ? "descending" : "ascending") : null;
      const arrow = sorted ? (this.down ? " ↓" : " ↑") : "";
      const button = el(
        "button",
        { type: "button", class: "link", "data-key": key, onclick: () => this.sort(key) },
        title + arrow,
      );
      return el("th", { scope: "col", "aria-sort": sorted }, button);
    };
    const line = (row) =>
      el(
        "tr",
        {},
        this.columns().map(([key, , cell]) =>
          el(key === "name" ? "th" : "td", key === "name" ? { scope: "row" } : {}, cell(row)),
        ),
      );
    byId("class-table").replaceChildren(
      el("thead", {}, el("tr", {}, this.columns().map(heading))),
      el("tbody", {}, rows.map(line)),
    );
  }
}
