// The lanes: one a thread, one for the server, time to the right. From afar how many events there
// are, nearer by each event a mark, nearest what it says.

const LEFT = 112;
const AXIS = 26;
// So many counts may be kept of the finest level.
const COUNTS = 2000000;
// More divergences in view than this are marked shortly.
const MANY = 60;

class Lanes {
  constructor(canvas, view) {
    this.canvas = canvas;
    this.view = view;
    this.hover = -1;
    this.pixels = new Pixels();
    view.onChange(() => this.draw());
    movable(canvas, view, {
      left: LEFT,
      onHover: (x, y, at) => this.hovered(x, y, at),
      onClick: (x, y, at) => this.clicked(x, y, at),
    });
  }

  get laneHeight() {
    const lanes = this.view.picture.lanes.length;
    return Math.max(26, Math.min(76, 560 / Math.max(lanes, 1)));
  }

  // The event that is nearest to a place.
  nearest(x, y, at) {
    const { picture } = this.view;
    if (x < LEFT || picture.rows === 0) return -1;
    const pixel = (this.canvas.clientWidth - LEFT) / this.view.span;
    const lane = Math.floor((y - AXIS) / this.laneHeight);
    const reach = Math.max(1, Math.ceil(14 / pixel));
    const first = rowFrom(picture, at - reach);
    const last = Math.min(rowFrom(picture, at + reach + 1), first + 4000, picture.rows);
    let best = -1;
    let least = Infinity;
    for (let row = first; row < last; row += 1) {
      const index = indexOfRow(picture, row);
      const far = Math.abs(index - at) * pixel + (picture.lane[row] === lane ? 0 : 1000);
      if (far < least) [least, best] = [far, index];
    }
    return least < 1000 + Math.max(14, pixel) ? best : -1;
  }

  hovered(x, y, at) {
    const index = x < 0 ? -1 : this.nearest(x, y, at);
    if (index === this.hover) return;
    this.hover = index;
    this.view.part.describe(index >= 0 ? index : this.view.index);
    this.view.changed();
  }

  clicked(x, y, at) {
    this.canvas.focus();
    const { picture } = this.view;
    if (x < LEFT) return;
    const index = this.nearest(x, y, at);
    if (index < 0) {
      this.view.pick(Math.round(at));
      return;
    }
    this.view.pick(index);
    const row = rowOfIndex(picture, index);
    const spot = row >= 0 ? spotOfLife(picture, picture.life[row]) : null;
    if (spot) this.view.pickSpot(spot);
  }

  draw() {
    const { view } = this;
    const { picture } = view;
    const lane = this.laneHeight;
    const height = AXIS + lane * picture.lanes.length + 6;
    const { context, width } = prepared(this.canvas, height);
    const c = colours();
    const pixel = (width - LEFT) / view.span;
    const x = (index) => LEFT + (index - view.from) * pixel;
    const y = (number) => AXIS + number * lane;
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    this.drawFrame({ context, width, height, c, x, y, lane });
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height);
    context.clip();
    const first = rowFrom(picture, view.from);
    const last = rowFrom(picture, view.to + 1);
    const near = pixel >= 0.5 && last - first < 20000;
    const place = { context, width, height, c, x, y, lane, pixel, first, last };
    if (near) {
      this.drawHolds(place);
      this.drawWaits(place);
      this.drawArrows(place);
      this.drawEvents(place);
    } else {
      this.drawDensity(place);
    }
    this.drawPreemptions(place, near);
    this.drawDivergences(place);
    this.drawPicked(place);
    context.restore();
    this.canvas.dataset.drawn = near ? 'events' : 'density';
  }

  drawFrame({ context, width, c, x, y, lane }) {
    const { picture } = this.view;
    picture.lanes.forEach((one, number) => {
      context.fillStyle = number % 2 ? c.paper : c.panel;
      context.fillRect(0, y(number), width, lane);
      context.fillStyle = c.text;
      context.textAlign = 'left';
      context.fillText(clipped(context, one.name, LEFT - 12), 6, y(number) + lane / 2);
    });
    context.strokeStyle = c.line;
    context.fillStyle = c.soft;
    context.textAlign = 'center';
    for (const at of ticks(this.view.from, this.view.to, Math.max(3, (width - LEFT) / 110))) {
      const row = rowOfIndex(picture, at);
      const number = row >= 0 ? stepOfRow(picture, row) : at + 1;
      context.beginPath();
      context.moveTo(Math.round(x(at)) + 0.5, AXIS - 5);
      context.lineTo(Math.round(x(at)) + 0.5, AXIS);
      context.stroke();
      const deciding = this.view.picture.json.deciding ?? -1000;
      const beside = x(at) - x(deciding);
      const free = deciding < 0 || beside < -20 || beside > 190;
      const inside = x(at) > LEFT + 14 && x(at) < width - 26;
      if (inside && free) context.fillText(grouped(number), x(at), 11);
    }
    context.textAlign = 'left';
    context.fillText(stepWord(picture), 6, 11);
  }

  drawHolds({ context, c, x, y, lane }) {
    const { view } = this;
    const all = holds(view.picture);
    const depth = new Map();
    const from = lastWhere(all.from, (at) => at <= view.to);
    const drawn = [];
    for (let k = from; k >= 0 && k > from - 4000; k -= 1) {
      if (all.to[k] >= view.from) drawn.push(k);
    }
    context.font = '11px system-ui, sans-serif';
    context.textAlign = 'left';
    context.globalAlpha = view.spot ? 0.35 : 1;
    for (const k of drawn.reverse()) {
      const open = (depth.get(all.lane[k]) ?? []).filter((until) => until > all.from[k]);
      open.push(all.to[k]);
      depth.set(all.lane[k], open);
      const left = Math.max(x(all.from[k]), LEFT);
      const right = Math.min(x(Math.min(all.to[k], view.picture.count)), x(view.to) + 2);
      const top = y(all.lane[k]) + lane - 1 - 6 * Math.min(open.length, 3);
      context.fillStyle = c.lock;
      context.fillRect(left, top, Math.max(right - left, 1), 4);
    }
    context.globalAlpha = 1;
  }

  drawWaits({ context, c, x, y, lane }) {
    const { view } = this;
    holds(view.picture);
    const all = view.picture.waits;
    context.fillStyle = hatched(context, c.amber, 7, 1);
    context.strokeStyle = c.amber;
    for (let k = 0; k < all.lane.length; k += 1) {
      if (all.from[k] > view.to || all.to[k] < view.from) continue;
      const left = Math.max(x(all.from[k]), LEFT);
      const right = Math.min(x(Math.min(all.to[k], view.picture.count)), x(view.to));
      const top = y(all.lane[k]) + 3;
      context.fillRect(left, top, Math.max(right - left, 2), lane - 8);
      context.strokeRect(left + 0.5, top + 0.5, Math.max(right - left, 2), lane - 9);
    }
  }

  drawArrows({ context, c, x, y, lane, first, last, pixel }) {
    const { picture } = this.view;
    if (pixel < 2) return;
    const takes = WORDS.words.findIndex((word) => word.word === 'takes');
    context.lineWidth = 1.2;
    for (let row = first; row < Math.min(last + 200, picture.rows); row += 1) {
      if (picture.word[row] !== takes || picture.arg[row] === 0) continue;
      const index = indexOfRow(picture, row);
      const from = rowOfIndex(picture, index - picture.arg[row]);
      if (from < 0) continue;
      context.globalAlpha = this.view.isFaded(picture.life[row]) ? 0.12 : 0.9;
      context.strokeStyle = c.send;
      context.fillStyle = c.send;
      const down = picture.lane[row] > picture.lane[from] ? 1 : -1;
      const [x0, y0] = [x(index - picture.arg[row]), y(picture.lane[from]) + lane / 2 + down * 9];
      const [x1, y1] = [x(index), y(picture.lane[row]) + lane / 2 - down * 10];
      arrow(context, x0, y0, x1, y1);
    }
    context.globalAlpha = 1;
    context.lineWidth = 1;
  }

  drawEvents({ context, c, x, y, lane, first, last, pixel }) {
    const { picture } = this.view;
    const boxed = pixel >= 11;
    const wordy = pixel >= 64;
    context.font = `${boxed ? 'bold ' : ''}11px system-ui, sans-serif`;
    context.textAlign = 'center';
    for (let row = first; row < last; row += 1) {
      const index = indexOfRow(picture, row);
      const word = WORDS.words[picture.word[row]];
      const colour = c[word.class] ?? (word.class === 'trouble' ? c.wrong : c.step);
      const [centre, middle] = [x(index), y(picture.lane[row]) + lane / 2 - (lane > 40 ? 4 : 0)];
      context.globalAlpha = this.view.isFaded(picture.life[row]) ? 0.16 : 1;
      context.fillStyle = word.class === 'wait' ? c.amber : colour;
      if (!boxed) {
        const tall = word.class === 'step' || word.class === 'lock' ? 8 : 16;
        context.fillRect(centre - Math.max(pixel / 2 - 0.3, 0.5), middle - tall / 2,
          Math.max(pixel - 0.6, 1), tall);
        continue;
      }
      mark(context, word.class, centre, middle, Math.min(pixel - 2, 20));
      context.fillStyle = word.class === 'step' ? c.text : c.paper;
      context.fillText(word.letter, centre, middle + 0.5);
      if (index === this.hover) {
        context.strokeStyle = c.text;
        context.strokeRect(centre - 11, middle - 11, 22, 22);
      }
      if (wordy && lane > 40) {
        context.fillStyle = c.text;
        context.font = '11px system-ui, sans-serif';
        context.fillText(clipped(context, label(picture, row), pixel - 4), centre, middle + 19);
        context.font = 'bold 11px system-ui, sans-serif';
      }
    }
    context.globalAlpha = 1;
  }

  // What takes long the first time.
  prepare() {
    this.levels ??= finerDensity(this.view.picture);
  }

  emptyBars(count) {
    if (this.bars?.length !== count) this.bars = new Float64Array(count);
    return this.bars.fill(0);
  }

  // How many events there are, by sort, a bar a pixel.
  drawDensity({ context, c, x, y, lane, width, first, last }) {
    const { view } = this;
    const { picture } = view;
    const sorts = [c.alloc, c.send, c.lock, c.step];
    const pixels = Math.floor(width - LEFT);
    const bars = this.emptyBars(picture.lanes.length * pixels * 4);
    const perPixel = view.span / pixels;
    this.prepare();
    if (picture.whole && perPixel < this.levels[0].width) {
      const sortOf = WORDS.words.map((word) => sortOfClass(word.class));
      for (let row = first; row < last; row += 1) {
        const at = Math.floor((row - view.from) / perPixel);
        if (at >= 0 && at < pixels) {
          bars[(picture.lane[row] * pixels + at) * 4 + sortOf[picture.word[row]]] += 1;
        }
      }
    } else {
      const level = this.levels.findLast((one) => one.width <= perPixel) ?? this.levels[0];
      const fromBucket = Math.max(0, Math.floor(view.from / level.width));
      const toBucket = Math.min(level.buckets, Math.ceil(view.to / level.width));
      for (let number = 0; number < picture.lanes.length; number += 1) {
        for (let bucket = fromBucket; bucket < toBucket; bucket += 1) {
          const left = Math.floor(x(bucket * level.width) - LEFT);
          const right = Math.max(left + 1, Math.floor(x((bucket + 1) * level.width) - LEFT));
          for (let sort = 0; sort < 4; sort += 1) {
            const count = level.counts[(number * level.buckets + bucket) * 4 + sort] || 0;
            if (count === 0) continue;
            for (let at = Math.max(0, left); at < Math.min(pixels, right); at += 1) {
              bars[(number * pixels + at) * 4 + sort] += count / (right - left);
            }
          }
        }
      }
    }
    let most = 1;
    for (let at = 0; at < bars.length; at += 4) {
      most = Math.max(most, bars[at] + bars[at + 1] + bars[at + 2] + bars[at + 3]);
    }
    this.drawBars(context, { bars, most, sorts, pixels, lane });
  }

  // Bars as pixels: there are too many of them to be drawn one by one.
  drawBars(context, { bars, most, sorts, pixels, lane }) {
    const { picture, spot } = this.view;
    const [wide, high] = [Math.max(pixels, 1), Math.ceil(lane * picture.lanes.length)];
    const out = this.pixels.resized(wide, high);
    out.fill(0);
    const inks = sorts.map(pixelOf);
    for (let number = 0; number < picture.lanes.length; number += 1) {
      const foot = Math.floor((number + 1) * lane) - 3;
      for (let at = 0; at < pixels; at += 1) {
        const bar = (number * pixels + at) * 4;
        let below = 0;
        for (let sort = 0; sort < 4; sort += 1) {
          if (bars[bar + sort] === 0) continue;
          const from = Math.floor((below * (lane - 8)) / most);
          below += bars[bar + sort];
          const to = Math.max(Math.floor((below * (lane - 8)) / most), from + 1);
          for (let y = from; y < to; y += 1) out[(foot - y) * wide + at] = inks[sort];
        }
      }
    }
    context.globalAlpha = spot ? 0.35 : 1;
    this.pixels.drawTo(context, LEFT, AXIS);
    context.globalAlpha = 1;
  }

  drawPreemptions({ context, c, x, height, first, last }, near) {
    const { picture } = this.view;
    const deciding = picture.json.deciding;
    if (near) {
      context.strokeStyle = c.soft;
      context.setLineDash([4, 4]);
      for (let row = first; row < last; row += 1) {
        if (!(picture.marks[row] & 1)) continue;
        const at = Math.round(x(indexOfRow(picture, row) - 0.5)) + 0.5;
        context.beginPath();
        context.moveTo(at, AXIS - 4);
        context.lineTo(at, height);
        context.stroke();
      }
      context.setLineDash([]);
    }
    if (deciding === null || deciding === undefined) return;
    const at = x(deciding - 0.5);
    context.fillStyle = c.accent;
    context.fillRect(at - 1, 0, 2.5, height);
    context.font = 'bold 11px system-ui, sans-serif';
    context.textAlign = at > context.canvas.clientWidth - 120 ? 'right' : 'left';
    const beside = context.textAlign === 'left' ? 2 : -2;
    context.fillText(' ▶ preempted: this decides ', at + beside, 11);
  }

  // A line through all lanes each; of many a short one, so that the lanes are still seen.
  drawDivergences({ context, c, x, height }) {
    context.font = 'bold 13px system-ui, sans-serif';
    context.textAlign = 'center';
    let drawn = -10;
    const all = this.view.part.divergences;
    const first = lastWhere(all, (one) => one.index < this.view.from) + 1;
    const last = lastWhere(all, (one) => one.index <= this.view.to + 1) + 1;
    const tall = last - first > MANY ? 9 : height;
    for (let k = first; k < last; k += 1) {
      const at = x(all[k].index);
      if (at < LEFT || at - drawn < 1) continue;
      context.fillStyle = c.wrong;
      context.globalAlpha = tall === height ? 0.5 : 1;
      context.fillRect(at - 0.75, AXIS, 1.5, tall);
      context.globalAlpha = 1;
      if (at - drawn > 9) context.fillText('✗', at, AXIS - 4);
      drawn = at;
    }
  }

  drawPicked({ context, c, x, y, lane, height }) {
    const { picture, index } = this.view;
    if (index < 0) return;
    const at = x(index);
    context.strokeStyle = c.text;
    context.lineWidth = 2;
    context.strokeRect(at - 11, AXIS + 1, 22, height - AXIS - 4);
    context.lineWidth = 1;
    const row = rowOfIndex(picture, index);
    if (row >= 0) {
      context.strokeRect(at - 12.5, y(picture.lane[row]) + lane / 2 - 16.5, 25, 25);
    }
  }
}

// Where all events have rows they are counted once more, finer than the page's own counts.
function finerDensity(picture) {
  const [coarse] = picture.density;
  const lanes = Math.max(picture.lanes.length, 1);
  let width = 16;
  while (4 * lanes * Math.ceil(picture.count / width) > COUNTS) width *= 2;
  if (!picture.whole || width >= coarse.width) return picture.density;
  const buckets = Math.ceil(picture.count / width);
  const counts = new Uint32Array(lanes * buckets * 4);
  const sortOf = WORDS.words.map((word) => sortOfClass(word.class));
  for (let row = 0; row < picture.rows; row += 1) {
    const bucket = picture.lane[row] * buckets + Math.floor(row / width);
    counts[bucket * 4 + sortOf[picture.word[row]]] += 1;
  }
  return densityLevels({ width, buckets, counts }, lanes);
}

// A colour as a pixel.
function pixelOf(colour) {
  const [r, g, b] = channels(colour);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

function sortOfClass(name) {
  if (name === 'alloc' || name === 'free') return 0;
  if (name === 'send' || name === 'receive') return 1;
  return name === 'lock' || name === 'wait' ? 2 : 3;
}

// Each sort has a shape of its own.
function mark(context, name, x, y, size) {
  const half = size / 2;
  context.beginPath();
  if (name === 'alloc') {
    context.moveTo(x - half, y + half);
    context.lineTo(x - half, y - half * 0.4);
    context.lineTo(x, y - half * 1.2);
    context.lineTo(x + half, y - half * 0.4);
    context.lineTo(x + half, y + half);
  } else if (name === 'free') {
    context.moveTo(x - half, y - half);
    context.lineTo(x - half, y + half * 0.4);
    context.lineTo(x, y + half * 1.2);
    context.lineTo(x + half, y + half * 0.4);
    context.lineTo(x + half, y - half);
  } else if (name === 'send' || name === 'receive') {
    context.arc(x, y, half, 0, 2 * Math.PI);
  } else if (name === 'trouble') {
    context.moveTo(x - half, y);
    context.lineTo(x, y - half * 1.2);
    context.lineTo(x + half, y);
    context.lineTo(x, y + half * 1.2);
  } else if (name === 'step') {
    context.globalAlpha *= 0.35;
    context.rect(x - half * 0.7, y - half * 0.7, size * 0.7, size * 0.7);
    context.fill();
    context.globalAlpha /= 0.35;
    return;
  } else {
    context.rect(x - half, y - half, size, size);
  }
  context.closePath();
  context.fill();
}

function arrow(context, x0, y0, x1, y1) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x1 - 7 * Math.cos(angle - 0.4), y1 - 7 * Math.sin(angle - 0.4));
  context.lineTo(x1 - 7 * Math.cos(angle + 0.4), y1 - 7 * Math.sin(angle + 0.4));
  context.closePath();
  context.fill();
}

// Round numbers between two, about so many.
function ticks(from, to, about) {
  const rough = (to - from) / about;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough) ?? 10 * power;
  const out = [];
  for (let at = Math.ceil((from + 1) / step) * step - 1; at <= to; at += step) {
    if (at >= 0) out.push(at);
  }
  return out;
}

function clipped(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let shown = text;
  while (shown.length > 1 && context.measureText(`${shown}…`).width > width) {
    shown = shown.slice(0, Math.max(1, Math.floor(shown.length * 0.9) - 1));
  }
  return shown.length > 1 ? `${shown}…` : '';
}
