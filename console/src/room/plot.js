"use strict";
// Lines in time, for the pages that draw them: what the server has drawn, in the house's colours, with a table of the same numbers.
const linePlot = (() => {
  const COLOURS = 10;
  /** What a window that is running has less of than it will have. */
  const GROWS = new Set(["count", "sum"]);
  const DASHES = { count: [], sum: [], average: [], least: [2, 4], most: [6, 4] };
  const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  /** The axes: time as the reader's language writes it, and numbers. */
  const axes = language => {
    const { color } = getComputedStyle(document.body);
    const axis = { stroke: color, grid: { stroke: "rgba(128,128,128,.2)" }, ticks: { stroke: "rgba(128,128,128,.4)" } };
    const times = (_, seconds, __, ___, step) => {
      const shown = step >= 86400 ? { month: "short", day: "numeric" } : step < 60 ? { ...CLOCK, second: "2-digit" } : CLOCK;
      const format = new Intl.DateTimeFormat(language, shown);
      return seconds.map(second => format.format(new Date(second * 1000)));
    };
    const number = new Intl.NumberFormat(language, { maximumFractionDigits: 6 });
    const numbers = (_, values) => values.map(value => value == null ? "" : number.format(value));
    return [{ ...axis, values: times, space: 72 }, { ...axis, size: 64, values: numbers }];
  };
  const colour = at => getComputedStyle(document.documentElement).getPropertyValue(`--line-${1 + (at % COLOURS)}`).trim();

  /** A place for one chart: draws into `place`, and writes the numbers of the last windows into `rows`. */
  class Plot {
    constructor({ place, rows, language, texts, nameOf = value => value }) {
      Object.assign(this, { place, rows, language, texts, nameOf });
      this.colours = new Map();
      new ResizeObserver(() => this.chart?.setSize(this.size())).observe(place);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }
    size() { return { width: Math.max(200, this.place.clientWidth), height: 200 }; }
    /** The colour of a line: of its value, or where all are of one value of what is drawn. It stays its own. */
    colourOf({ value, drawn }) {
      const what = this.isOfOneValue ? drawn : value;
      if (!this.colours.has(what)) this.colours.set(what, this.colours.size);
      return this.colours.get(what);
    }
    label(line) {
      const drawn = this.drawnIsNamed ? ` · ${this.texts[line.drawn]}` : "";
      return (line.label ?? this.nameOf(line.value)) + drawn;
    }
    show(drawing) {
      const before = this.shape;
      this.drawing = drawing;
      this.isOfOneValue = new Set(drawing.lines.map(line => line.value)).size === 1;
      this.drawnIsNamed = new Set(drawing.lines.map(line => line.drawn)).size > 1;
      this.shape = JSON.stringify(drawing.lines.map(line => [line.value, line.label, line.drawn]));
      if (this.chart && before === this.shape) this.chart.setData(this.data()); else this.draw();
      this.fill();
    }
    /** A line for each; what still grows in the window that is running is a point of its own. */
    data() {
      const { from, window_seconds: step, windows, lines } = this.drawing;
      const first = Date.parse(from) / 1000;
      const grown = lines.map(line => GROWS.has(line.drawn) ? [...line.points.slice(0, -1), null] : line.points);
      const growing = lines.map(line => [...Array(windows - 1).fill(null), GROWS.has(line.drawn) ? line.points.at(-1) : null]);
      return [Array.from({ length: windows }, (_, at) => first + at * step), ...grown, ...growing];
    }
    draw() {
      this.chart?.destroy();
      this.chart = null;
      if (!this.drawing?.lines.length) return;
      const lines = this.drawing.lines.map(line => ({ label: this.label(line), stroke: colour(this.colourOf(line)), width: 2,
        dash: DASHES[line.drawn], points: { show: false }, spanGaps: !GROWS.has(line.drawn) }));
      const points = lines.map(({ label, stroke }) => ({ label, stroke, width: 0, points: { show: true, size: 6, fill: stroke } }));
      const range = (_, least, most) => {
        const [low, high] = [Math.min(0, least ?? 0), Math.max(0, most ?? 0)];
        return low === high ? [0, 1] : [low * 1.1, high * 1.1];
      };
      this.chart = new uPlot({ ...this.size(), series: [{}, ...lines, ...points], axes: axes(this.language), scales: { y: { range } },
        legend: { show: false }, cursor: { show: false } }, this.data(), this.place);
    }
    fill() {
      const formats = new Map();
      const format = ({ decimals, drawn }) => {
        const most = drawn === "average" ? Math.max(2, decimals) : decimals;
        const key = `${decimals} ${most}`;
        if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(this.language, { minimumFractionDigits: decimals, maximumFractionDigits: most }));
        return formats.get(key);
      };
      const cell = (line, number) => {
        const td = document.createElement("td");
        td.className = "number";
        td.textContent = number == null ? "–" : format(line).format(number);
        return td;
      };
      this.rows.replaceChildren(...this.drawing.lines.map(line => {
        const row = document.createElement("tr"), name = document.createElement("th"), swatch = document.createElement("span");
        name.scope = "row";
        if (line.label) name.title = line.value;
        swatch.className = `swatch line-${1 + (this.colourOf(line) % COLOURS)}`;
        name.append(swatch, this.label(line));
        row.append(name, cell(line, line.points.at(-1)), cell(line, line.points.at(-2)));
        return row;
      }));
    }
  }
  return { Plot, axes, colour };
})();
