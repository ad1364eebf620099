// The suspects: filtered, sorted, a page at a time, and marked.

const PAGE = 48;
const ORDERS = {
  quality: "lowest quality",
  given: "given label",
  suggested: "suggested label",
  loss: "highest loss",
  index: "order in the data",
};
const KEYS = { r: "right", w: "wrong", u: "unsure" };

// Paths below the folder that they share, by which no sample is found or told apart.
function withoutCommonFolder(paths) {
  const folder = (path) => path.replace(/[^\\/]*[\\/]?$/, "");
  let shared = paths.length ? paths[0].replace(/[^\\/]*$/, "") : "";
  while (!paths.every((path) => path.startsWith(shared))) shared = folder(shared);
  return paths.map((path) => path.slice(shared.length));
}

class Gallery {
  constructor(data, marks) {
    this.data = data;
    this.marks = marks;
    this.page = 0;
    this.current = 0; // of the cards on this page
    this.names = data.path && withoutCommonFolder(data.path);
    this.grid = byId("gallery");
    this.grid.classList.toggle("rows", data.pictures === null);
    this.fillFilters();
    this.listen();
    this.refresh();
  }

  fillFilters() {
    const { data } = this;
    for (const side of ["given", "suggested"]) {
      const counts = new Map();
      for (const code of data[side]) counts.set(code, (counts.get(code) ?? 0) + 1);
      // Also classes without suspects: table and map lead to these as well.
      const named = (name, code) => [code, `${name} (${count(counts.get(code) ?? 0)})`];
      options(byId(`filter-${side}`), [["", "any"], ...data.classes.map(named)]);
    }
    options(byId("filter-mark"), [
      ["", "any"],
      ["none", "not marked"],
      ...Object.keys(MARKS).map((mark) => [mark, mark]),
    ]);
    const orders = Object.entries(ORDERS).filter(
      ([key]) => key !== "loss" || data.loss.some((loss) => loss !== null),
    );
    options(byId("sort"), orders);
  }

  listen() {
    const filters = ["filter-given", "filter-suggested", "filter-mark", "sort"];
    for (const id of filters) byId(id).addEventListener("change", () => this.refresh());
    byId("search").addEventListener("input", () => this.refresh());
    byId("clear").addEventListener("click", () => this.show({}));
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    this.grid.addEventListener("focusin", (event) => {
      const card = event.target.closest(".card");
      if (card) this.makeCurrent([...this.grid.children].indexOf(card.parentElement));
    });
  }

  // Set the filters: places of classes, or nothing for any.
  show({ given = "", suggested = "" }) {
    byId("filter-given").value = given;
    byId("filter-suggested").value = suggested;
    byId("filter-mark").value = "";
    byId("search").value = "";
    this.refresh();
  }

  refresh() {
    const { data, marks } = this;
    const given = byId("filter-given").value;
    const suggested = byId("filter-suggested").value;
    const mark = byId("filter-mark").value;
    const text = byId("search").value.trim().toLowerCase();
    const wanted = (row) =>
      (given === "" || data.given[row] === Number(given)) &&
      (suggested === "" || data.suggested[row] === Number(suggested)) &&
      (mark === "" || (marks.mark(row) ?? "none") === mark) &&
      (text === "" ||
        String(data.index[row]) === text ||
        (this.names?.[row].toLowerCase().includes(text) ?? false));
    this.rows = data.index.map((_, row) => row).filter(wanted);
    const key = byId("sort").value;
    // They come by quality; sorting keeps that order among equals.
    if (key === "loss") {
      this.rows.sort((a, b) => (data.loss[b] ?? -1) - (data.loss[a] ?? -1));
    } else if (key !== "quality") {
      this.rows.sort((a, b) => data[key][a] - data[key][b]);
    }
    this.page = 0;
    this.render();
  }

  get pages() {
    return Math.max(1, Math.ceil(this.rows.length / PAGE));
  }

  turn(step, focus = null) {
    const page = Math.min(Math.max(this.page + step, 0), this.pages - 1);
    if (page === this.page) return false;
    this.page = page;
    this.render();
    if (focus === null) byId("count").scrollIntoView({ block: "start" });
    else this.focus(focus < 0 ? this.grid.children.length - 1 : focus);
    return true;
  }

  render() {
    const start = this.page * PAGE;
    const shown = this.rows.slice(start, start + PAGE);
    this.grid.replaceChildren(...shown.map((row) => el("li", {}, this.card(row))));
    this.current = 0;
    this.makeCurrent(0);
    const all = this.data.index.length;
    const some = this.rows.length === all ? "" : ` of ${count(all)}`;
    byId("count").textContent = this.rows.length
      ? `${count(this.rows.length)}${some} suspects, ` +
        `${count(start + 1)} to ${count(start + shown.length)} shown`
      : all
        ? "No suspect passes these filters."
        : "No label looks wrong.";
    byId("page-number").textContent = `Page ${this.page + 1} of ${this.pages}`;
    byId("previous").disabled = this.page === 0;
    byId("next").disabled = this.page === this.pages - 1;
    byId("pager").hidden = this.pages === 1;
  }

  card(row) {
    const { data, marks } = this;
    const given = data.classes[data.given[row]];
    const best = data.classes[data.suggested[row]];
    const suggested = best === given ? "no better label" : best;
    const mark = marks.mark(row);
    const quality = percent(data.quality[row]);
    const path = data.path?.[row];
    const described =
      `Sample ${data.index[row]}: given ${given}, suggested ${suggested}, ` +
      `label quality ${quality}` + (mark ? `, marked ${mark}` : "");
    const buttons = Object.entries(MARKS).map(([name, text]) =>
      el(
        "button",
        {
          type: "button",
          class: `mark ${name}`,
          "aria-pressed": String(mark === name),
          tabindex: -1,
          onclick: () => this.setMark(row, mark === name ? null : name),
        },
        el("span", { class: "sign", "aria-hidden": "true" }, `${text[0]} `),
        text.slice(2),
      ),
    );
    return el(
      "div",
      {
        class: "card",
        tabindex: -1,
        role: "group",
        "aria-label": described,
        "data-row": row,
        "data-mark": mark ?? "none",
      },
      data.pictures && this.picture(row),
      el(
        "div",
        { class: "labels" },
        el("span", { class: "given", title: `given: ${given}` }, given),
        el("span", { class: "arrow", "aria-hidden": "true" }, "→"),
        el("span", { class: "suggested", title: `suggested: ${suggested}` }, suggested),
      ),
      el(
        "div",
        { class: "facts" },
        el("span", { class: "quality" }, `quality ${quality}`),
        el("span", { class: "name", title: path ?? "" }, this.name(row)),
      ),
      el("div", { class: "marks" }, buttons),
      mark === "wrong" ? this.choice(row) : null,
    );
  }

  name(row) {
    const path = this.data.path?.[row];
    return path === undefined ? `#${this.data.index[row]}` : path.split(/[\\/]/).pop();
  }

  picture(row) {
    const picture = this.data.pictures[row];
    if (picture) {
      const src = `data:image/jpeg;base64,${picture}`;
      return el("img", { src, alt: "", decoding: "async" });
    }
    const why = picture === null ? "cannot be read" : "left out to save space";
    return el("div", { class: "no-picture" }, `Picture ${why}`);
  }

  choice(row) {
    const { classes, given } = this.data;
    const select = el("select", {
      "aria-label": "Right label",
      tabindex: -1,
      onchange: (event) => this.setMark(row, "wrong", event.target.value),
    });
    const others = classes.filter((_, code) => code !== given[row]);
    options(select, [["", "none of these"], ...others.map((name) => [name, name])]);
    select.value = this.marks.label(row);
    return el("label", { class: "choice" }, "is ", select);
  }

  setMark(row, mark, label = null) {
    this.marks.set(row, mark, label);
    const old = this.grid.querySelector(`[data-row="${row}"]`);
    const focused = old.contains(document.activeElement);
    const selected = old.contains(document.activeElement?.closest("select"));
    const card = this.card(row);
    old.replaceWith(card);
    this.makeCurrent(this.current);
    if (focused) (selected ? (card.querySelector("select") ?? card) : card).focus();
    const chosen = mark === "wrong" ? this.marks.label(row) || "none of the classes" : "";
    byId("spoken").textContent =
      mark === null ? "Mark removed" : `Marked ${mark}${chosen && `: ${chosen}`}`;
  }

  makeCurrent(place) {
    const cards = this.grid.querySelectorAll(".card");
    cards.forEach((card, i) => {
      const index = i === place ? 0 : -1;
      for (const part of [card, ...card.querySelectorAll("button, select")]) {
        part.tabIndex = index;
      }
    });
    this.current = place;
  }

  focus(place) {
    const card = this.grid.children[place]?.firstElementChild;
    if (!card) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  // Go some cards on, over the ends of the page too.
  step(steps) {
    const place = this.current + steps;
    const last = this.grid.children.length - 1;
    if (place >= 0 && place <= last) this.focus(place);
    else if (!this.turn(Math.sign(steps), steps < 0 ? -1 : 0)) {
      if (Math.abs(steps) > 1) this.focus(steps < 0 ? 0 : last);
    }
  }

  get columns() {
    const tops = [...this.grid.children].map((item) => item.offsetTop);
    const second = tops.findIndex((top) => top > tops[0]);
    return second < 0 ? tops.length : second;
  }

  onKey(event) {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.altKey || event.metaKey) return;
    const inSelect = event.target.matches("select");
    if (inSelect) {
      if (event.key === "Escape") card.focus();
      return;
    }
    const row = Number(card.dataset.row);
    const mark = KEYS[event.key.toLowerCase()];
    const acts = {
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      ArrowDown: () => this.step(this.columns),
      ArrowUp: () => this.step(-this.columns),
      Home: () => this.focus(0),
      End: () => this.focus(this.grid.children.length - 1),
      PageDown: () => this.turn(1, 0),
      PageUp: () => this.turn(-1, 0),
      Backspace: () => this.setMark(row, null),
      Delete: () => this.setMark(row, null),
      l: () => this.chooseLabel(row),
    };
    const act = mark
      ? () => {
          this.setMark(row, mark);
          this.step(1);
        }
      : acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  chooseLabel(row) {
    if (this.marks.mark(row) !== "wrong") this.setMark(row, "wrong");
    this.grid.querySelector(`[data-row="${row}"] select`).focus();
  }
}
