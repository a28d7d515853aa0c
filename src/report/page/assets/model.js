// Questions about a picture: what an event says, where a position is, and how things stood before
// and after an event.

const WORDS = JSON.parse(document.getElementById('words').textContent);

function indexOfRow(picture, row) {
  if (picture.whole) return row;
  const at = lastWhere(picture.stretches, (stretch) => stretch.row <= row);
  const stretch = picture.stretches[at];
  return stretch.first + (row - stretch.row);
}

// The row of an event; -1 where it has none.
function rowOfIndex(picture, index) {
  if (picture.whole) return index >= 0 && index < picture.rows ? index : -1;
  const at = lastWhere(picture.stretches, (stretch) => stretch.first <= index);
  const stretch = picture.stretches[at];
  if (!stretch || index >= stretch.first + stretch.count) return -1;
  return stretch.row + index - stretch.first;
}

// The first row whose event is at `index` or behind it; the number of rows where there is none.
function rowFrom(picture, index) {
  const wanted = Math.max(0, Math.ceil(index));
  if (picture.whole) return Math.min(wanted, picture.rows);
  for (const stretch of picture.stretches) {
    if (wanted < stretch.first + stretch.count) {
      return stretch.row + Math.max(0, wanted - stretch.first);
    }
  }
  return picture.rows;
}

// The last element of a list that begins with those that satisfy `wanted`; -1 where none does.
function lastWhere(list, wanted) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (wanted(list[middle])) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// The event of a position in the source.
function indexOfPosition(picture, position) {
  if (!picture.position) return Math.min(Math.max(position - 1, 0), picture.count - 1);
  const row = Math.max(0, lastWhere(picture.position, (at) => at <= position));
  return indexOfRow(picture, row);
}

// The event of a step.
function indexOfStep(picture, step) {
  if (!picture.whole) return Math.min(Math.max(step - 1, 0), picture.count - 1);
  const row = lastWhere(picture.step, (at) => at < step) + 1;
  return Math.min(row, picture.rows - 1);
}

function stepOfRow(picture, row) {
  if (picture.position) return picture.position[row];
  return picture.whole ? picture.step[row] : indexOfRow(picture, row) + 1;
}

function stepWord(picture) {
  const word = picture.json.position;
  return word === 'event' && picture.whole ? 'step' : word;
}

function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

function hex(address) {
  return `0x${address.toString(16)}`;
}

// The row of a life in the table of lives; -1 where it was left out.
function rowOfLife(picture, life) {
  if (!life) return -1;
  const at = lastWhere(picture.lives.number, (number) => number <= life);
  return at >= 0 && picture.lives.number[at] === life ? at : -1;
}

// Where a life is; `null` where that is not known.
function spotOfLife(picture, life) {
  let all = picture.lives;
  let row = rowOfLife(picture, life);
  if (row < 0) {
    all = picture.entries;
    row = entryOfLife(picture, life);
  }
  if (row < 0) return null;
  return { space: all.space[row], address: all.address[row], size: all.size[row] };
}

function entryOfLife(picture, life) {
  if (!life) return -1;
  if (!picture.entryOf) {
    const { of, count } = picture.entries;
    picture.entryOf = new Map();
    for (let k = count - 1; k >= 0; k -= 1) picture.entryOf.set(of[k], k);
  }
  return picture.entryOf.get(life) ?? -1;
}

function spaceName(picture, space) {
  return picture.json.memory.spaces[space] ?? '';
}

// What an event says, in a line.
function label(picture, row) {
  if (picture.text && picture.text[row]) return picture.json.texts[picture.text[row] - 1];
  const word = WORDS.words[picture.word[row]];
  const remark = WORDS.remarks[picture.remark[row]];
  const arg = picture.arg[row];
  const spot = spotOfLife(picture, picture.life[row]);
  const address = spot ? ` ${hex(spot.address)}` : '';
  switch (word.word) {
    case 'lock':
    case 'unlock':
    case 'waits for':
      return `${word.word} ${picture.locks[arg] ?? arg}`;
    case 'alloc':
      if (!spot) return 'alloc';
      return `alloc ${grouped(spot.size)} B ${spaceName(picture, spot.space)} →${address}`;
    case 'begins': return `${remark}${remark ? ` s${arg}` : 'begins an operation'}${address}`;
    case 'send':
    case 'dropped':
      return `${word.word} ${remark}${address}${arg ? ` on connection ${arg}` : ''}`;
    case 'message':
    case 'takes effect': {
      const answer = arg ? `: ${WORDS.remarks[arg]}` : '';
      const effect = word.word === 'message' ? '' : ' takes effect';
      return `${remark}${address}${effect}${answer}`;
    }
    case 'takes': return takes(picture, row, remark, address);
    case 'stamp': return `stamp #${arg}`;
    case 'free': return `free${address}${remark ? ` (${remark})` : ''}`;
    case 'check-live':
    case 'claim':
      return `${word.word}: ${remark}${address}`;
    default: return `${word.word}${remark ? ` ${remark}` : ''}${address}`;
  }
}

function takes(picture, row, remark, address) {
  const ago = picture.arg[row];
  const from = ago ? rowOfIndex(picture, indexOfRow(picture, row) - ago) : -1;
  if (from < 0) return `takes a message${address}: ${remark}`;
  const sent = WORDS.remarks[picture.remark[from]];
  return `takes ${picture.lanes[picture.lane[from]].name}'s ${sent}${address}: ${remark}`;
}

// All lives and entries at a spot, each in order.
function atSpot(picture, space, address) {
  if (!picture.spots) {
    picture.spots = new Map();
    for (const sort of ['lives', 'entries']) {
      const all = picture[sort];
      for (let k = 0; k < all.count; k += 1) {
        const key = `${all.space[k]}:${all.address[k]}`;
        let spot = picture.spots.get(key);
        if (!spot) picture.spots.set(key, spot = { lives: [], entries: [] });
        spot[sort].push(k);
      }
    }
  }
  return picture.spots.get(`${space}:${address}`) ?? { lives: [], entries: [] };
}

function end(to) {
  return to >= NEVER ? Infinity : to;
}

// Who held which lock when: [lane, lock, from, to], by event.
function holds(picture) {
  if (picture.holds) return picture.holds;
  const open = picture.lanes.map(() => new Map());
  const all = { lane: [], lock: [], from: [], to: [] };
  const lock = WORDS.words.findIndex((word) => word.word === 'lock');
  const unlock = WORDS.words.findIndex((word) => word.word === 'unlock');
  for (let row = 0; row < picture.rows; row += 1) {
    const word = picture.word[row];
    if (word !== lock && word !== unlock) continue;
    const lane = picture.lane[row];
    const name = picture.arg[row];
    if (word === lock) {
      open[lane].set(name, all.lane.length);
      all.lane.push(lane);
      all.lock.push(name);
      all.from.push(indexOfRow(picture, row));
      all.to.push(Infinity);
    } else if (open[lane].has(name)) {
      all.to[open[lane].get(name)] = indexOfRow(picture, row);
      open[lane].delete(name);
    }
  }
  picture.holds = all;
  picture.waits = waits(picture, all);
  return all;
}

// Where a thread could not go on: until it took a lock that another had, and where the run was
// given up. [lane, from, to, why]
function waits(picture, all) {
  const out = { lane: [], from: [], to: [], why: [] };
  const previous = new Map();
  const lastOf = new Int32Array(picture.lanes.length).fill(-1);
  const before = new Map();
  const lock = WORDS.words.findIndex((word) => word.word === 'lock');
  const blocked = WORDS.words.map((word) => word.class === 'wait');
  for (let row = 0; row < picture.rows; row += 1) {
    const lane = picture.lane[row];
    if (picture.word[row] === lock) before.set(indexOfRow(picture, row), lastOf[lane]);
    if (blocked[picture.word[row]]) {
      out.lane.push(lane);
      out.from.push(indexOfRow(picture, row));
      out.to.push(Infinity);
      out.why.push(label(picture, row));
    }
    lastOf[lane] = indexOfRow(picture, row);
  }
  for (let k = 0; k < all.lane.length; k += 1) {
    const earlier = previous.get(all.lock[k]);
    previous.set(all.lock[k], k);
    if (earlier === undefined || all.lane[earlier] === all.lane[k]) continue;
    const from = Math.max(before.get(all.from[k]) + 1, all.from[earlier]);
    const to = all.to[earlier];
    if (to <= all.from[k] && from < to) {
      out.lane.push(all.lane[k]);
      out.from.push(from);
      out.to.push(to);
      const holder = picture.lanes[all.lane[earlier]].name;
      out.why.push(`${picture.locks[all.lock[k]]} is held by ${holder}`);
    }
  }
  return out;
}

// The locks held at an event: after it, or before.
function heldAt(picture, index, after) {
  const all = holds(picture);
  const out = [];
  const from = lastWhere(all.from, (at) => (after ? at <= index : at < index));
  for (let k = from; k >= 0 && k > from - 400; k -= 1) {
    if (after ? all.to[k] > index : all.to[k] >= index) {
      out.push(`${picture.lanes[all.lane[k]].name} holds ${picture.locks[all.lock[k]]}`);
    }
  }
  return out.reverse();
}

// How things stand at the spot of a life before or after an event: truth, and the server's entry.
function stateAt(picture, life, index, after) {
  const spot = spotOfLife(picture, life);
  if (!spot) return null;
  const at = atSpot(picture, spot.space, spot.address);
  const holdsThen = (all, k) => (after
    ? all.from[k] <= index && end(all.to[k]) > index
    : all.from[k] < index && end(all.to[k]) >= index);
  const { lives, entries } = picture;
  const live = at.lives.filter((k) => holdsThen(lives, k));
  const shown = at.entries.filter((k) => holdsThen(entries, k));
  return {
    truth: live.map((k) => `${owner(picture, lives.number[k])}, ${grouped(lives.size[k])} B`),
    server: shown.map((k) => `${owner(picture, entries.of[k])}, ${grouped(entries.size[k])} B`),
  };
}

// Whose a life is: `t1's (life 3)`.
function owner(picture, life) {
  const row = rowOfLife(picture, life);
  if (row < 0) return life ? `life ${life}` : 'an entry';
  const lane = picture.lanes[picture.lives.lane[row]];
  return `${lane ? lane.name : '?'}'s (life ${life})`;
}
