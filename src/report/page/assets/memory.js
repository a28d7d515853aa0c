// Memory: addresses upwards, time to the right, a rectangle a life. The allocators' truth is
// filled, the server's picture is a band of lines in it, and where they differ it is red and
// crossed.

// So few rectangles are drawn each by itself, with lines in it.
const FEW = 400;

const KINDS = ['live, not shown', 'shown, not live', "another buffer's entry is shown"];

class Memory {
  constructor(canvas, view, controls) {
    this.canvas = canvas;
    this.view = view;
    this.controls = controls;
    this.space = this.firstSpace();
    this.scales = new Map();
    this.coverages = new Map();
    this.pixels = new Pixels();
    view.onChange(() => this.draw());
    movable(canvas, view, {
      left: LEFT,
      onHover: (x, y, at) => this.hovered(x, y, at),
      onClick: (x, y, at) => this.clicked(x, y, at),
    });
  }

  // The space of the first difference that is wrong; else the one with most lives.
  firstSpace() {
    const { differences: wrong, lives, entries } = this.view.picture;
    for (let k = 0; k < wrong.count; k += 1) if (!wrong.on_its_way[k]) return wrong.space[k];
    const counts = new Map();
    for (const all of [lives, entries]) {
      for (let k = 0; k < all.count; k += 1) {
        counts.set(all.space[k], (counts.get(all.space[k]) ?? 0) + 1);
      }
    }
    const sorted = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    return sorted.length ? sorted[0][0] : 0;
  }

  // Where addresses of a space are drawn: what is never used takes little room.
  scale(height) {
    const key = `${this.space}:${height}`;
    if (this.scales.has(key)) return this.scales.get(key);
    const { picture } = this.view;
    const ranges = [];
    for (const all of [picture.lives, picture.entries]) {
      for (let k = 0; k < all.count; k += 1) {
        if (all.space[k] !== this.space) continue;
        ranges.push([all.start[k], all.start[k] + Math.max(all.bytes[k], 1)]);
      }
    }
    ranges.sort((a, b) => a[0] - b[0]);
    const merged = [];
    for (const range of ranges) {
      const last = merged[merged.length - 1];
      if (last && range[0] <= last[1]) last[1] = Math.max(last[1], range[1]);
      else merged.push([...range]);
    }
    const used = merged.reduce((sum, [from, to]) => sum + to - from, 0);
    const most = used * 0.03 + 1;
    let length = 0;
    const parts = merged.map(([from, to], k) => {
      if (k > 0) length += Math.min(from - merged[k - 1][1], most);
      const part = { from, to, at: length };
      length += to - from;
      return part;
    });
    const top = 8;
    const room = height - top - 8;
    const scale = {
      parts,
      y: (address) => {
        const part = parts[lastWhere(parts, (one) => one.from <= address)];
        if (!part) return top + room;
        const inside = Math.min(address - part.from, part.to - part.from + most);
        return top + room - ((part.at + inside) / Math.max(length, 1)) * room;
      },
    };
    this.scales.set(key, scale);
    return scale;
  }

  get height() {
    return 300;
  }

  at(all, x, y, index) {
    if (x < LEFT) return -1;
    const scale = this.scale(this.height);
    const slack = (3 / (this.canvas.clientWidth - LEFT)) * this.view.span;
    for (let k = all.count - 1; k >= 0; k -= 1) {
      if (all.space[k] !== this.space) continue;
      if (index < all.from[k] - slack || index > end(all.to[k]) + slack) continue;
      const bottom = scale.y(all.start[k]);
      const top = scale.y(all.start[k] + Math.max(all.bytes[k], 1));
      if (y >= top - 2 && y <= bottom + 2) return k;
    }
    return -1;
  }

  hovered(x, y, index) {
    const { picture, part } = this.view;
    const live = x < 0 ? -1 : this.at(picture.lives, x, y, index);
    const shown = x < 0 ? -1 : this.at(picture.entries, x, y, index);
    const wrong = x < 0 ? -1 : this.at(picture.differences, x, y, index);
    const lines = [];
    if (live >= 0) lines.push(`truth: ${this.says(picture.lives, live)}`);
    if (shown >= 0) {
      const of = owner(picture, picture.entries.of[shown]);
      lines.push(`server: entry of ${of}, ${this.says(picture.entries, shown)}`);
    }
    if (wrong >= 0) {
      const way = picture.differences.on_its_way[wrong] ? ' (its message was on its way)' : '';
      const all = picture.differences;
      lines.push(`difference: ${KINDS[all.kind[wrong]]}${way}, ${this.when(all, wrong)}`);
    }
    part.hint(lines);
  }

  when(all, k) {
    const { picture } = this.view;
    const name = (index) => {
      const row = rowOfIndex(picture, Math.min(index, picture.count - 1));
      return row >= 0 ? grouped(stepOfRow(picture, row)) : grouped(index + 1);
    };
    const until = end(all.to[k]) === Infinity ? 'the end' : name(all.to[k]);
    return `${stepWord(picture)} ${name(all.from[k])} to ${until}`;
  }

  says(all, k) {
    const banked = all.reach[k] < all.size[k] ? ` (${grouped(all.reach[k])} in each bank)` : '';
    const size = `${hex(all.address[k])}, ${grouped(all.size[k])} B${banked}`;
    const number = all === this.view.picture.lives ? owner(this.view.picture, all.number[k]) : '';
    return `${size}, ${this.when(all, k)}${number ? `, ${number}` : ''}`;
  }

  clicked(x, y, index) {
    this.canvas.focus();
    const { picture } = this.view;
    for (const all of [picture.differences, picture.lives, picture.entries]) {
      const k = this.at(all, x, y, index);
      if (k < 0) continue;
      this.view.pickSpot({ space: all.space[k], address: all.address[k] });
      this.view.pick(Math.min(all.from[k], picture.count - 1));
      return;
    }
    this.view.pick(Math.round(index));
  }

  // Shows the space in which something is.
  goTo(space) {
    if (space === this.space) return;
    this.space = space;
    if (this.controls.space) this.controls.space.value = String(space);
    this.view.changed();
  }

  draw() {
    const { view, controls } = this;
    const { picture } = view;
    const { height } = this;
    const { context, width } = prepared(this.canvas, height);
    const c = colours();
    const scale = this.scale(height);
    const pixel = (width - LEFT) / view.span;
    const x = (index) => LEFT + (index - view.from) * pixel;
    context.font = '11px ui-monospace, monospace';
    context.textBaseline = 'middle';
    context.fillStyle = c.panel;
    context.fillRect(LEFT, 0, width - LEFT, height);
    this.drawAddresses(context, scale, c, width);
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height);
    context.clip();
    const place = { context, c, x, scale, width };
    const coverage = this.coverage(height);
    // Lines are for a few: of many rectangles each is too small to have some.
    if (coverage.isSparse(view.from, view.to, FEW)) this.drawEach(place, coverage);
    else this.drawCovered(place, coverage, height);
    if (view.index >= 0) {
      context.fillStyle = c.text;
      context.fillRect(x(view.index) - 0.75, 0, 1.5, height);
    }
    context.restore();
  }

  drawAddresses(context, scale, c, width) {
    context.textAlign = 'left';
    let last = Infinity;
    for (const part of scale.parts) {
      const high = scale.y(part.from) - scale.y(part.to);
      // Powers of two, as many as there is room for.
      const step = 2 ** Math.ceil(Math.log2(Math.max((part.to - part.from) / (high / 36), 1)));
      const next = (Math.floor(part.from / step) + 1) * step;
      for (let address = part.from; address < part.to; address = Math.max(next, address + step)) {
        const at = scale.y(address);
        if (last - at < 14) continue;
        last = at;
        context.fillStyle = c.soft;
        const shown = hex(BigInt(Math.round(address)));
        context.fillText(clipped(context, shown, LEFT - 6), 2, at - 6);
        context.fillStyle = c.line;
        context.fillRect(LEFT, at, width - LEFT, 0.5);
        if (step < 1) break;
      }
    }
  }

  coverage(height) {
    const key = `${this.space}:${height}`;
    if (!this.coverages.has(key)) {
      const scale = this.scale(height);
      this.coverages.set(key, new Coverage(this.view.picture, this.space, scale, height));
    }
    return this.coverages.get(key);
  }

  drawCovered({ context, c, width }, coverage, height) {
    const { view, controls } = this;
    const wanted = (controls.live.checked ? IS_LIVE : 0) | (controls.shown.checked ? IS_SHOWN : 0)
      | (controls.wrong.checked ? IS_ON_ITS_WAY | IS_WRONG : 0);
    const pixels = Math.max(Math.floor(width - LEFT), 1);
    const spot = view.spot && view.spot.space === this.space ? view.spot : null;
    const elsewhere = view.spot && !spot;
    const out = this.pixels.resized(pixels, height);
    const looks = this.looks(c, wanted);
    coverage.drawTo(out, { from: view.from, to: view.to, spot }, pixels, looks);
    context.globalAlpha = elsewhere ? 0.15 : 1;
    this.pixels.drawTo(context, LEFT, 0);
    context.globalAlpha = 1;
  }

  // They change with the theme and with what is wanted only.
  looks(c, wanted) {
    if (this.known?.c !== c || this.known.wanted !== wanted) {
      this.known = { c, wanted, inks: inks(c, wanted) };
    }
    return this.known.inks;
  }

  // What takes long the first time.
  prepare() {
    this.coverage(this.height).levelOf(Infinity);
  }

  drawEach(place, coverage) {
    const { controls } = this;
    const { context, c } = place;
    const [lives, entries, differences] = coverage.sorts;
    if (controls.live.checked) this.drawAll(place, lives, { colour: () => c.live, band: 0 });
    if (controls.shown.checked) {
      const lines = hatched(context, c.shown, 6, 1);
      this.drawAll(place, entries, { colour: () => lines, band: 0.5, edge: c.shown });
    }
    if (controls.wrong.checked) {
      const lines = hatched(context, c.paper, 8, 0);
      const way = hatched(context, c.amber, 9, -1);
      const wrong = differences.all;
      this.drawAll(place, differences, {
        colour: (k) => (wrong.on_its_way[k] ? way : c.wrong),
        band: 0,
        over: (k) => (wrong.on_its_way[k] ? null : lines),
      });
    }
  }

  drawAll({ context, c, x, scale, width }, rows, { colour, band, over, edge }) {
    const { view } = this;
    const { all } = rows;
    rows.each(view.from, view.to, (k) => {
      const until = Math.min(end(all.to[k]), view.picture.count);
      const left = Math.max(x(all.from[k]), LEFT - 2);
      const right = Math.min(x(until), width + 2);
      const bottom = scale.y(all.start[k]);
      const top = Math.min(scale.y(all.start[k] + all.bytes[k]), bottom - 1.5);
      const faded = view.spot
        && (view.spot.space !== all.space[k] || view.spot.address !== all.address[k]);
      context.globalAlpha = faded ? 0.15 : 1;
      context.fillStyle = colour(k);
      const above = top + (bottom - top) * band;
      context.fillRect(left, above, Math.max(right - left, 1), Math.max(bottom - above - 0.5, 1));
      const lines = over ? over(k) : null;
      if (lines && right - left > 5) {
        context.fillStyle = lines;
        context.fillRect(left, top, right - left, bottom - top);
      }
      if (right - left > 3 && bottom - top > 4) {
        context.strokeStyle = edge ?? c.paper;
        context.strokeRect(left + 0.5, above + 0.5, right - left - 1, bottom - above - 1);
      }
    });
    context.globalAlpha = 1;
  }
}

// Bytes over time, drawn by uPlot: the truth, the server's picture, and how fragmented it is.
class Totals {
  constructor(element, view, memory) {
    this.element = element;
    this.view = view;
    this.memory = memory;
    this.plot = null;
    view.onChange(() => this.follow());
  }

  series() {
    const { totals, json } = this.view.picture;
    const { values, samples, width, curves } = totals;
    const stride = 3 + 3 * curves;
    const all = this.all;
    const at = all ? 0 : 3 + 3 * this.memory.space;
    const xs = new Float64Array(samples);
    const read = { live: [], shown: [], fragmented: [] };
    for (let k = 0; k < samples; k += 1) {
      // A sample is of what was before its event.
      xs[k] = Math.min(k * width, this.view.picture.count) - 0.5;
      const base = k * stride + at;
      const live = Number(values[base]);
      const shown = Number(values[base + 1]);
      read.live.push(live);
      read.shown.push(shown);
      read.fragmented.push(Number(values[base + 2]) / 10);
    }
    const { has_truth: truth, has_server: server } = json.memory;
    return [xs, ...(truth ? [read.live] : []), ...(server ? [read.shown] : []),
      ...(truth ? [read.fragmented] : [])];
  }

  // What an event is called on the axes of lanes, too.
  positionAt(index) {
    if (index === null || index === undefined) return '';
    const { picture } = this.view;
    const row = rowOfIndex(picture, Math.max(0, Math.min(Math.round(index), picture.count - 1)));
    return grouped(row >= 0 ? stepOfRow(picture, row) : Math.round(index) + 1);
  }

  get all() {
    return this.memory.space >= this.view.picture.totals.curves;
  }

  draw() {
    const c = colours();
    const { view } = this;
    if (this.plot) this.plot.destroy();
    const { has_truth: truth, has_server: server } = view.picture.json.memory;
    const lines = { stroke: c.line, width: 0.5 };
    const axis = { stroke: c.soft, grid: lines, ticks: lines };
    this.space = this.memory.space;
    this.plot = new uPlot({
      width: Math.max(this.element.clientWidth, 200),
      height: 170,
      padding: [8, 8, 0, 0],
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false, auto: false, range: () => [view.from, view.to] },
        pct: { range: [0, 100] },
      },
      axes: [
        {
          ...axis, size: 30, incrs: steps(), space: 90,
          values: (_, splits) => splits.map((one) => this.positionAt(one)),
        },
        { ...axis, size: LEFT, values: (_, splits) => splits.map(bytesShort) },
        ...(truth ? [{
          ...axis, side: 1, scale: 'pct', size: 46, grid: { show: false },
          values: (_, splits) => splits.map((one) => `${Math.round(one)} %`),
        }] : []),
      ],
      series: [
        { label: stepWord(view.picture), value: (_, one) => this.positionAt(one) },
        ...(truth ? [{
          label: 'live', stroke: c.live, width: 2, paths: uPlot.paths.stepped({ align: 1 }),
          points: { show: false }, value: (_, one) => bytesShort(one),
        }] : []),
        ...(server ? [{
          label: 'the server shows', stroke: c.shown, width: 1.5, dash: [5, 4],
          paths: uPlot.paths.stepped({ align: 1 }), points: { show: false },
          value: (_, one) => bytesShort(one),
        }] : []),
        ...(truth ? [{
          label: 'fragmented', scale: 'pct', stroke: c.soft, width: 1, dash: [1, 3],
          points: { show: false }, value: (_, one) => (one == null ? '' : `${one.toFixed(0)} %`),
        }] : []),
      ],
    }, this.series(), this.element);
  }

  follow() {
    if (!this.plot || this.space !== this.memory.space) {
      this.draw();
      return;
    }
    this.plot.setScale('x', { min: this.view.from, max: this.view.to });
  }
}

// Whole steps between the marks of an axis.
function steps() {
  const out = [];
  for (let power = 1; power < 1e10; power *= 10) out.push(power, 2 * power, 5 * power);
  return out;
}

function bytesShort(bytes) {
  if (bytes === null || bytes === undefined) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let size = bytes;
  let unit = 0;
  while (Math.abs(size) >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = size >= 100 || Number.isInteger(size) ? 0 : 1;
  return `${size.toFixed(digits)} ${units[unit]}`;
}
