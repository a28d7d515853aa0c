// Memory from afar: of more rectangles than can be drawn one by one, which pixels they cover. A
// byte a pixel, a bit for each sort; what a byte looks like is looked up. Rows of pixels between
// which no rectangle begins or ends are one band, and whole records are kept by level, so that no
// frame walks all rectangles again.

const SORTS = ['lives', 'entries', 'differences'];
const [IS_LIVE, IS_SHOWN, IS_ON_ITS_WAY, IS_WRONG] = [1, 2, 4, 8];
// The same, faded: what is at another address than the picked one.
const FADED = 4;
// What is drawn with lines, so that it can be told without colours.
const LINED = (IS_ON_ITS_WAY | IS_WRONG) * (1 + (1 << FADED));
// So many columns has the finest level that is kept.
const FINEST = 16384;
// So many rectangles share what is known of their end.
const BLOCK = 64;

class Coverage {
  constructor(picture, space, scale, height) {
    this.picture = picture;
    this.height = height;
    this.sorts = SORTS.map((name) => new Rows(picture[name], space, scale, height));
    this.spot = null;
    this.levels = [];
    const edges = new Uint8Array(height + 1);
    this.sorts.forEach((rows, sort) => {
      rows.top.forEach((top, at) => {
        edges[top] = 1;
        edges[rows.bottom[at]] = 1;
        edges[aboveOf(sort, top, rows.bottom[at])] = 1;
      });
    });
    edges[0] = 1;
    this.bandOf = new Uint16Array(height + 1);
    this.bands = [];
    for (let row = 0; row < height; row += 1) {
      if (edges[row]) this.bands.push(row);
      this.bandOf[row] = this.bands.length - 1;
    }
    this.bandOf[height] = this.bands.length;
  }

  // Whether fewer rectangles than `some` stand between two events.
  isSparse(from, to, some) {
    let count = 0;
    for (const rows of this.sorts) {
      rows.each(from, to, () => {
        count += 1;
        return count < some;
      });
    }
    return count < some;
  }

  // Puts a pixel for each byte into `out`, row by row.
  drawTo(out, { from, to, spot }, pixels, looks) {
    this.pick(spot);
    const wide = (to - from) / pixels;
    const level = this.levelOf(wide)
      ?? { wide, columns: pixels, bytes: this.filled(from, to, wide, pixels), from };
    const { columns, bytes } = level;
    const starts = this.starts(level, from, wide, pixels);
    const bits = new Uint8Array(pixels);
    this.bands.forEach((first, band) => {
      const base = band * columns;
      let all = 0;
      for (let at = 0; at < pixels; at += 1) {
        const until = Math.max(starts[at + 1], starts[at] + 1);
        let here = 0;
        for (let next = starts[at]; next < until; next += 1) here |= bytes[base + next];
        bits[at] = here;
        all |= here;
      }
      const last = this.bands[band + 1] ?? this.height;
      // Lines come again after eight rows.
      const period = all & LINED ? 8 : 1;
      for (let row = first; row < last; row += 1) {
        const into = row * pixels;
        if (row >= first + period) {
          out.copyWithin(into, into - period * pixels, into - (period - 1) * pixels);
          continue;
        }
        for (let at = 0; at < pixels; at += 1) {
          const lines = bits[at] & LINED ? lineAt(at, row) : 0;
          out[into + at] = looks[lines][bits[at]];
        }
      }
    });
  }

  // The first column of a level for each pixel.
  starts(level, from, wide, pixels) {
    const out = new Int32Array(pixels + 1);
    for (let at = 0; at <= pixels; at += 1) {
      const column = level.from === undefined ? Math.floor((from + at * wide) / level.wide) : at;
      out[at] = Math.min(Math.max(column, 0), level.columns - 1);
    }
    return out;
  }

  pick(spot) {
    if (this.spot === spot) return;
    this.spot = spot;
    this.levels = [];
  }

  // The coarsest level whose columns are no wider than `wide` events.
  levelOf(wide) {
    const { count } = this.picture;
    const finest = 2 ** Math.max(Math.ceil(Math.log2(count / FINEST)), 0);
    if (wide < finest) return null;
    if (this.levels.length === 0) {
      const columns = Math.ceil(count / finest) + 1;
      this.levels.push({ wide: finest, columns, bytes: this.filled(0, count, finest, columns) });
    }
    let last = this.levels[this.levels.length - 1];
    while (last.wide * 2 <= wide && last.columns > 1) {
      last = this.halved(last);
      this.levels.push(last);
    }
    return this.levels.findLast((level) => level.wide <= wide);
  }

  halved({ wide, columns, bytes }) {
    const half = (columns + 1) >> 1;
    const out = new Uint8Array(half * this.bands.length);
    for (let band = 0; band < this.bands.length; band += 1) {
      const [from, to] = [band * columns, band * half];
      for (let at = 0; at < columns; at += 1) out[to + (at >> 1)] |= bytes[from + at];
    }
    return { wide: wide * 2, columns: half, bytes: out };
  }

  // What is between two events, in so many columns of `wide` events: a byte for each band.
  filled(from, to, wide, columns) {
    const out = new Uint8Array(columns * this.bands.length);
    this.sorts.forEach((rows, sort) => {
      rows.each(from, to, (k, top, bottom) => {
        const left = Math.max(Math.floor((rows.all.from[k] - from) / wide), 0);
        const until = Math.min(end(rows.all.to[k]), this.picture.count);
        const right = Math.min(Math.max(Math.floor((until - from) / wide), left + 1), columns);
        const bits = this.bitsOf(rows.all, sort, k);
        const below = this.bandOf[bottom];
        for (let band = this.bandOf[aboveOf(sort, top, bottom)]; band < below; band += 1) {
          for (let at = band * columns + left; at < band * columns + right; at += 1) {
            out[at] |= bits;
          }
        }
      });
    });
    return out;
  }

  bitsOf(all, sort, k) {
    const bits = [IS_LIVE, IS_SHOWN, all.on_its_way?.[k] ? IS_ON_ITS_WAY : IS_WRONG][sort];
    return this.spot && this.spot.address !== all.address[k] ? bits << FADED : bits;
  }
}

// Where a rectangle is drawn from: the server's picture is a band in the truth.
function aboveOf(sort, top, bottom) {
  return sort === 1 ? Math.min((top + bottom + 1) >> 1, bottom - 1) : top;
}

// The rectangles of a sort and a space by their beginning, and the rows that each covers.
class Rows {
  constructor(all, space, scale, height) {
    this.all = all;
    const order = [];
    let sorted = true;
    for (let k = 0; k < all.count; k += 1) {
      if (all.space[k] !== space || all.from[k] === all.to[k]) continue;
      if (order.length && all.from[order[order.length - 1]] > all.from[k]) sorted = false;
      order.push(k);
    }
    if (!sorted) order.sort((a, b) => all.from[a] - all.from[b] || a - b);
    this.order = Uint32Array.from(order);
    this.top = new Uint16Array(order.length);
    this.bottom = new Uint16Array(order.length);
    this.ends = new Float64Array(Math.ceil(order.length / BLOCK));
    order.forEach((k, at) => {
      const bottom = scale.y(all.start[k]);
      const top = Math.min(scale.y(all.start[k] + all.bytes[k]), bottom - 1.5);
      this.top[at] = Math.min(Math.max(Math.round(top), 0), height - 1);
      this.bottom[at] = Math.min(Math.max(Math.round(bottom - 0.5), this.top[at] + 1), height);
      const block = Math.floor(at / BLOCK);
      this.ends[block] = Math.max(this.ends[block], end(all.to[k]));
    });
  }

  // Calls `take` for each that is between two events, in order, until it returns false.
  each(from, to, take) {
    const { order, all } = this;
    for (let block = 0; block < this.ends.length; block += 1) {
      if (this.ends[block] < from) continue;
      const last = Math.min((block + 1) * BLOCK, order.length);
      for (let at = block * BLOCK; at < last; at += 1) {
        const k = order[at];
        if (all.from[k] > to) return;
        if (end(all.to[k]) < from) continue;
        if (take(k, this.top[at], this.bottom[at]) === false) return;
      }
    }
  }
}

// What each byte looks like, as pixels: plain, and where one of two sorts of lines is. `wanted`
// are the bits that are to be seen.
function inks(c, wanted) {
  const layers = [
    { bit: IS_LIVE, ink: c.live, alpha: [1, 1, 1] },
    { bit: IS_SHOWN, ink: c.shown, alpha: [0.5, 0.5, 0.5] },
    { bit: IS_ON_ITS_WAY, ink: c.amber, alpha: [0.25, 0.25, 0.8] },
    { bit: IS_WRONG, ink: c.wrong, alpha: [1, 1, 1] },
    { bit: IS_WRONG, ink: c.paper, alpha: [0, 1, 0] },
  ].filter(({ bit }) => wanted & bit);
  return [0, 1, 2].map((lines) => {
    const out = new Uint32Array(256);
    for (let bits = 1; bits < 256; bits += 1) {
      let ink = channels(c.panel);
      for (const [shift, weight] of [[FADED, 0.15], [0, 1]]) {
        for (const { bit, ink: over, alpha } of layers) {
          if (!((bits >> shift) & bit)) continue;
          const share = alpha[lines] * weight;
          ink = channels(over).map((value, at) => ink[at] + (value - ink[at]) * share);
        }
      }
      const [r, g, b] = ink.map(Math.round);
      out[bits] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    }
    return out;
  });
}

// Which lines a pixel is on: 1 of those that cross what is wrong, 2 of those of what is on its way.
function lineAt(column, row) {
  if (((column + row) & 7) < 2) return 1;
  return ((column - row) & 7) < 2 ? 2 : 0;
}

// Red, green and blue of a colour of the page, which are all #rrggbb.
function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

// An image as large as a picture, kept from frame to frame.
class Pixels {
  resized(wide, high) {
    if (!this.image || this.image.width !== wide || this.image.height !== high) {
      this.image = new ImageData(wide, high);
      this.canvas = document.createElement('canvas');
      this.canvas.width = wide;
      this.canvas.height = high;
    }
    return new Uint32Array(this.image.data.buffer);
  }

  drawTo(context, x, y) {
    this.canvas.getContext('2d').putImageData(this.image, 0, 0);
    context.drawImage(this.canvas, x, y);
  }
}
