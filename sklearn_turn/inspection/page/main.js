// From the data to the page.

const data = JSON.parse(byId("data").textContent);

function describe() {
  const { classes, n_samples: n, index, tau } = data;
  const [rate, low, high] = [data.noise_rate, ...(data.interval ?? [])].map(
    (share) => `${(100 * share).toFixed(1)} %`,
  );
  const sure = data.interval
    ? `${low} to ${high} if qualities are right`
    : "qualities are no probabilities here";
  const settings = data.filter ? `${data.estimator} with ${data.filter}` : data.estimator;
  byId("about").textContent =
    `${count(n)} ${data.kind}, ${plural(classes.length, "class", "classes")}; ` +
    `${settings}; ${data.created}`;
  byId("footer").textContent =
    `Written by sklearn-turn ${data.version}. This file loads nothing from anywhere and ` +
    "sends nothing.";
  byId("term-suspect").textContent =
    tau === null
      ? "A sample whose given label was not selected as clean. Look at it: a suspect need " +
        "not be wrong."
      : `A sample whose label quality is not above τ = ${tau}. Look at it: a suspect ` +
        "need not be wrong.";
  const tiles = [
    ["Suspects", count(index.length), `${percent(index.length / n)} of all ${data.kind}`],
    ["Noise rate", rate, sure],
    ["Samples", count(n), data.n_skipped ? `${count(data.n_skipped)} unreadable` : ""],
    ["Classes", count(classes.length), ""],
  ];
  byId("tiles").replaceChildren(
    ...tiles.map(([name, value, note]) =>
      el(
        "div",
        { class: "tile" },
        el("dt", {}, name),
        el("dd", {}, el("strong", {}, value), note && el("span", { class: "muted" }, note)),
      ),
    ),
  );
}

function notices() {
  const { pictures, pixels, index, n_skipped: skipped } = data;
  const lines = [];
  if (skipped) {
    lines.push(`${plural(skipped, "image")} could not be read and were left out.`);
  }
  const absent = (pictures ?? []).filter((picture) => picture === "").length;
  if (absent) {
    lines.push(
      `Pictures of the last ${count(absent)} of ${count(index.length)} suspects, by ` +
        "quality, are left out, to keep this file small; the others are at most " +
        `${pixels} pixels wide. export_report(…, max_megabytes=…) allows for more.`,
    );
  }
  byId("notices").replaceChildren(...lines.map((t) => el("p", { class: "notice" }, t)));
}

function start() {
  describe();
  notices();
  const progress = () => {
    const { works } = marks.store;
    const hidden = marks.elsewhere;
    byId("progress").textContent =
      `${count(marks.size)} of ${count(data.index.length)} marked`;
    byId("download").disabled = marks.size === 0;
    byId("storage-note").textContent = works
      ? "Marks are kept in this browser until you clear its data." +
        (hidden ? ` ${count(hidden)} more, of samples not listed here, are not saved.` : "")
      : "This browser keeps no marks: download them before you close the page.";
    byId("storage-note").classList.toggle("warning", !works);
  };
  const marks = new Marks(data, progress);
  progress();
  const gallery = new Gallery(data, marks);
  const choose = (filters) => {
    gallery.show(filters);
    byId("suspects").scrollIntoView();
    byId("filter-given").focus({ preventScroll: true });
  };

  const pairs = countPairs(data);
  byId("pairs").replaceChildren(
    ...pairs.slice(0, 12).map(({ given, suggested, n }) =>
      el(
        "li",
        {},
        el(
          "button",
          { type: "button", class: "link", onclick: () => choose({ given, suggested }) },
          el("bdi", {}, data.classes[given]),
          " → ",
          el("bdi", {}, data.classes[suggested]),
        ),
        el("span", { class: "bar", "aria-hidden": "true" }),
        el("span", {}, count(n)),
      ),
    ),
  );
  byId("pairs").querySelectorAll(".bar").forEach((bar, i) => {
    bar.style.setProperty("--share", pairs[i].n / pairs[0].n);
  });
  if (!pairs.length) byId("pairs").replaceChildren(el("li", {}, "none"));

  new Losses(data);
  new ClassTable(data, pairs, (given) => choose({ given }));
  // A small map has room beside the other two.
  if (data.classes.length <= 12) byId("columns").append(byId("map-panel"));
  responsive(byId("map-chart"), (width) =>
    drawMap(data, width, (given, suggested) => choose({ given, suggested })),
  );
  const { n_left_out: hidden } = data.transitions;
  byId("map-note").textContent =
    "Point at a cell to read it; a click shows its suspects." +
    (hidden ? ` ${count(hidden)} smaller cells are left out.` : "");

  byId("download").addEventListener("click", () => marks.download());
  addEventListener("beforeunload", (event) => {
    if (!marks.store.works && marks.unsaved) event.preventDefault();
  });
}

start();
