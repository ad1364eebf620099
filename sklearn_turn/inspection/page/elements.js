// Making elements. Text is always text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const count = (number) => number.toLocaleString("en");

function percent(share, digits = 1) {
  const value = 100 * share;
  if (value > 0 && value < 10 ** -digits / 2) return `< ${10 ** -digits} %`;
  return `${value.toFixed(value < 10 ? digits : 0)} %`;
}

// About n + 1 round numbers from low to high.
function ticks(low, high, n) {
  const rough = (high - low) / n || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(6)),
  );
}

const plural = (number, one, many = `${one}s`) =>
  `${count(number)} ${number === 1 ? one : many}`;

function options(select, entries) {
  select.replaceChildren(
    ...entries.map(([value, text]) => el("option", { value }, text)),
  );
}

// Draw now, and again whenever the width changes.
function responsive(element, draw) {
  let width = 0;
  const redraw = () => {
    width = element.clientWidth;
    if (width) element.replaceChildren(draw(width));
  };
  new ResizeObserver(() => {
    if (element.clientWidth !== width) redraw();
  }).observe(element);
  redraw();
  return redraw;
}
