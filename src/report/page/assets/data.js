// Reads what the page holds: columns of numbers, deflated and in base64, each in the form that
// `columns.rs` wrote. What comes out are typed arrays.

const NEVER = 0xffffffff;

async function inflate(text) {
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function column(packed) {
  const raw = await inflate(packed.data);
  switch (packed.form) {
    case 'u8': return raw;
    case 'u16': return new Uint16Array(raw.buffer, 0, packed.count);
    case 'u32': return new Uint32Array(raw.buffer, 0, packed.count);
    case 'u64': return new BigUint64Array(raw.buffer, 0, packed.count);
    case 'varint': return varints(raw, packed.count);
    case 'delta': return deltas(raw, packed.count);
    default: throw new Error(`a column of form ${packed.form}`);
  }
}

// Seven bits a byte, the lowest first; numbers of more than 32 bits too.
class Varints {
  constructor(raw) {
    this.raw = raw;
    this.at = 0;
  }

  next() {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.raw[this.at];
      this.at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
}

function varints(raw, count) {
  const out = new Uint32Array(count);
  const from = new Varints(raw);
  for (let k = 0; k < count; k += 1) {
    out[k] = from.next();
  }
  return out;
}

// Varints as they are, beyond 32 bits too: zigzag of differences.
function deltas(raw, count) {
  const out = new Float64Array(count);
  let last = 0;
  const from = new Varints(raw);
  for (let k = 0; k < count; k += 1) {
    const value = from.next();
    last += value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    out[k] = last;
  }
  return out;
}

function numbersOf(longs) {
  const out = new Float64Array(longs.length);
  for (let k = 0; k < longs.length; k += 1) out[k] = Number(longs[k]);
  return out;
}

async function rectangles(packed) {
  const names = ['number', 'space', 'address', 'size', 'reach', 'from', 'to', 'lane', 'of'];
  const read = await Promise.all(names.map((name) => column(packed[name])));
  const out = Object.fromEntries(names.map((name, k) => [name, read[k]]));
  out.count = out.number.length;
  out.start = numbersOf(out.address);
  out.bytes = numbersOf(out.reach);
  return out;
}

async function differences(packed) {
  const names = [
    'kind', 'on_its_way', 'space', 'address', 'size', 'reach', 'from', 'to', 'life',
  ];
  const read = await Promise.all(names.map((name) => column(packed[name])));
  const out = Object.fromEntries(names.map((name, k) => [name, read[k]]));
  out.count = out.kind.length;
  out.start = numbersOf(out.address);
  out.bytes = numbersOf(out.reach);
  return out;
}

// A picture as the other files use it.
async function readPicture(json) {
  const events = json.events;
  const names = ['lane', 'word', 'remark', 'arg'];
  const read = await Promise.all(names.map((name) => column(events[name])));
  const picture = Object.fromEntries(names.map((name, k) => [name, read[k]]));
  Object.assign(picture, {
    json,
    lanes: json.lanes,
    locks: json.locks,
    count: events.count,
    rows: picture.word.length,
    server: json.lanes.findIndex((lane) => lane.is_server),
    text: json.text ? await column(json.text) : null,
    position: events.position ? await column(events.position) : null,
    life: lanewise(await column(events.life), picture.lane, json.lanes.length),
    density: await readDensity(events.density, json.lanes.length),
    lives: await rectangles(json.memory.lives),
    entries: await rectangles(json.memory.entries),
    differences: await differences(json.memory.differences),
    totals: { ...json.memory.totals, values: await column(json.memory.totals.values) },
  });
  let row = 0;
  picture.stretches = events.stretches.map(([first, count]) => {
    const stretch = { first, count, row };
    row += count;
    return stretch;
  });
  number(picture);
  return picture;
}

// Lives are differences to the life before on the same lane.
function lanewise(packed, lane, lanes) {
  const last = new Float64Array(Math.max(lanes, 1));
  const out = new Uint32Array(packed.length);
  for (let k = 0; k < packed.length; k += 1) {
    const zigzag = packed[k];
    last[lane[k]] += zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
    out[k] = last[lane[k]];
  }
  return out;
}

// How many events of each sort there are, by lane and by level: each half as fine as the one
// before.
async function readDensity(packed, lanes) {
  const counts = await column(packed.counts);
  return densityLevels({ width: packed.width, buckets: packed.buckets, counts }, lanes);
}

function densityLevels(finest, lanes) {
  const levels = [finest];
  const sorts = 4;
  while (levels[levels.length - 1].buckets > 512) {
    const below = levels[levels.length - 1];
    const buckets = Math.ceil(below.buckets / 2);
    const sums = new Uint32Array(lanes * buckets * sorts);
    for (let lane = 0; lane < lanes; lane += 1) {
      for (let at = 0; at < below.buckets; at += 1) {
        for (let sort = 0; sort < sorts; sort += 1) {
          const from = (lane * below.buckets + at) * sorts + sort;
          sums[(lane * buckets + (at >> 1)) * sorts + sort] += below.counts[from] || 0;
        }
      }
    }
    levels.push({ width: below.width * 2, buckets, counts: sums });
  }
  return levels;
}

// Step numbers, as a text timeline counts: what the server takes in the step that sent it is no
// step of its own. Where rows are missing there are no such numbers, and events are counted.
function number(picture) {
  const { word, rows } = picture;
  picture.whole = picture.rows === picture.count;
  picture.marks = new Uint8Array(rows);
  picture.step = new Uint32Array(rows);
  let step = 0;
  for (let row = 0; row < rows; row += 1) {
    picture.marks[row] = word[row] >> 6;
    if (!(picture.marks[row] & 2)) step += 1;
    picture.step[row] = step;
  }
  picture.word = word.map((value) => value & 0x3f);
  picture.diverging = [];
  for (let row = 0; row < rows; row += 1) {
    if (picture.remark[row] & 0x80) picture.diverging.push(indexOfRow(picture, row));
  }
  picture.remark = picture.remark.map((value) => value & 0x7f);
}
