
// ---- a plot over time: axes, lines, and the values at the pointer or at the place that keys choose ----

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const MARGIN = { left: 46, right: 10, top: 8, bottom: 20 };

function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// A round number that is not below the highest value, so that halves of the axis are round, too.
function roundTop(value, isWhole) {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 4, 6, 8, 10].find((factor) => factor * power >= value * (1 - 1e-9)) ?? 10;
  const top = step * power;
  return isWhole && top % 2 === 1 ? top + 1 : top;
}

// `format` makes a value readable with its unit, `tick` makes it short for the axis. The axis ends at `most`,
// or at a value that is not below `least`.
class Plot {
  constructor({ id, title, unit, format, tick = format, isWhole = true, least = 2, most }) {
    Object.assign(this, { title, unit, format, tick, isWhole, least, most });
    this.series = [];
    this.svg = draw("svg", { "aria-hidden": "true", focusable: "false" });
    this.stage = make("div", { className: "stage", tabIndex: 0 }, this.svg);
    this.stage.setAttribute("role", "slider");
    this.stage.setAttribute("aria-orientation", "horizontal");
    this.peak = make("span", { className: "peak" });
    this.legend = make("p", { className: "legend" });
    const heading = make("h3", { textContent: `${title}, ${unit}`, id: `plot-${id}` });
    this.stage.setAttribute("aria-labelledby", heading.id);
    this.figure = make("figure", { id: `figure-${id}` }, make("figcaption", {}, heading, this.peak), this.stage, this.legend);
    this.stage.addEventListener("pointermove", (event) => this.point(event));
    this.stage.addEventListener("pointerdown", (event) => this.point(event));
    this.stage.addEventListener("pointerleave", () => this.choose(undefined));
    this.stage.addEventListener("blur", () => this.choose(undefined));
    this.stage.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(this.stage);
  }

  // `series` has names, class names and values; all have as many values as there are `times`.
  show(series, times, from, to) {
    Object.assign(this, { series, times, from, to });
    this.paint();
  }

  paint() {
    const width = this.stage.clientWidth;
    if (!this.times || width === 0) return;
    const values = this.series.flatMap((one) => one.values).filter(isNumber);
    const top = this.most ?? roundTop(Math.max(this.least, ...values), this.isWhole);
    this.x = (time) => MARGIN.left + ((time - this.from) / (this.to - this.from)) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const parts = [];
    for (const value of [0, top / 2, top]) {
      const y = this.y(value);
      parts.push(draw("line", { class: value === 0 ? "axis" : "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      parts.push(draw("text", { class: "tick", x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, this.tick(value)));
    }
    for (const share of [0, 0.5, 1]) {
      const time = this.from + share * (this.to - this.from);
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      parts.push(draw("text", { class: "tick", x: this.x(time), y: HEIGHT - 5, "text-anchor": anchor }, share === 1 ? "now" : minuteOf(time)));
    }
    for (const one of this.series) parts.push(...this.line(one));
    this.cursor = draw("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
    parts.push(this.cursor);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    const peak = Math.max(0, ...values);
    say(this.peak, values.length === 0 ? "nothing yet" : `peak ${this.format(peak)}`);
    this.stage.setAttribute("aria-valuemin", 0);
    this.stage.setAttribute("aria-valuemax", Math.max(0, this.times.length - 1));
    this.showValues();
  }

  line({ values, className }) {
    let path = "";
    const dots = [];
    values.forEach((value, index) => {
      if (!isNumber(value)) return;
      const at = `${this.x(this.times[index]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      const isJoined = isNumber(values[index - 1]);
      path += (isJoined ? "L" : "M") + at;
      // A value between gaps has no line.
      if (!isJoined && !isNumber(values[index + 1])) {
        const [cx, cy] = at.split(" ");
        dots.push(draw("circle", { class: `dot ${className}`, cx, cy, r: 2.5 }));
      }
    });
    return [draw("path", { class: `line ${className}`, d: path }), ...dots];
  }

  point(event) {
    if (!this.times?.length) return;
    const x = event.clientX - this.stage.getBoundingClientRect().left;
    const distances = this.times.map((time) => Math.abs(this.x(time) - x));
    this.choose(distances.indexOf(Math.min(...distances)));
  }

  key(event) {
    const last = (this.times?.length ?? 0) - 1;
    if (last < 0) return;
    const at = this.chosen ?? last;
    const moves = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageUp: at + 10, PageDown: at - 10, Home: 0, End: last };
    if (event.key === "Escape") this.choose(undefined);
    else if (Object.hasOwn(moves, event.key)) this.choose(Math.min(last, Math.max(0, moves[event.key])));
    else return;
    event.preventDefault();
  }

  choose(index) {
    // Before the first data there is nothing to choose.
    if (!this.times) return;
    this.chosen = index;
    this.showValues();
  }

  // The values at the chosen place, else the newest ones, in the legend.
  showValues() {
    const last = this.times.length - 1;
    const at = Math.min(this.chosen ?? last, last);
    const isChosen = this.chosen !== undefined && last >= 0;
    this.cursor?.setAttribute("visibility", isChosen ? "visible" : "hidden");
    if (isChosen) {
      const x = this.x(this.times[at]);
      this.cursor.setAttribute("x1", x);
      this.cursor.setAttribute("x2", x);
    }
    const value = (one) => (isNumber(one.values[at]) ? this.format(one.values[at]) : DASH);
    const when = last < 0 ? "" : isChosen ? minuteOf(this.times[at]) : "now";
    const shown = [["", when, ""], ...this.series.map((one) => [one.className, one.name, value(one)])];
    fill(this.legend, shown, ([className, name, text]) => {
      if (className === "") return make("span", { className: "when", textContent: name });
      return make("span", {}, make("i", { className: `key ${className}` }), `${name} `, make("b", { textContent: text }));
    });
    const words = this.series.map((one) => `${one.name} ${value(one)}`).join(", ");
    this.stage.setAttribute("aria-valuenow", Math.max(0, at));
    this.stage.setAttribute("aria-valuetext", last < 0 ? "nothing yet" : `${when}: ${words}. ${this.peak.textContent}`);
  }
}

// The local time of day, to the minute, of milliseconds since 1970.
function minuteOf(time) {
  const date = new Date(time);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}
