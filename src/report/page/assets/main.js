// Brings the page to life: each part gets its pictures when it is shown first, and its tables
// filters; what is a jump jumps.

const STEPS = 41;

class Part {
  constructor(element) {
    this.element = element;
    this.ready = false;
    this.divergences = [...element.querySelectorAll('[data-divergence]')]
      .filter((row) => row.dataset.event !== undefined)
      .map((row) => ({ index: Number(row.dataset.event), row }))
      .sort((a, b) => a.index - b.index);
    for (const input of element.querySelectorAll('input[data-filter]')) {
      input.addEventListener('input', () => filter(element, input));
    }
  }

  find(name) {
    return this.element.querySelector(`[data-is="${name}"]`);
  }

  async start() {
    if (this.ready) return;
    this.ready = true;
    const data = this.find('data');
    if (!data) return;
    this.picture = await readPicture(JSON.parse(data.textContent));
    const listed = new Set(this.divergences.map((one) => one.index));
    const others = this.picture.diverging.filter((index) => !listed.has(index));
    this.divergences = [...this.divergences, ...others.map((index) => ({ index, row: null }))]
      .sort((a, b) => a.index - b.index);
    this.view = new View(this.picture, this);
    this.lanes = new Lanes(this.find('lanes'), this.view);
    const controls = Object.fromEntries(['live', 'shown', 'wrong', 'space']
      .map((name) => [name, this.find(`memory-${name}`)]));
    this.memory = new Memory(this.find('memory'), this.view, controls);
    this.totals = new Totals(this.find('totals'), this.view, this.memory);
    controls.space.value = String(this.memory.space);
    controls.space.addEventListener('change', () => {
      this.memory.space = Number(controls.space.value);
      this.view.changed();
    });
    for (const name of ['live', 'shown', 'wrong']) {
      controls[name].addEventListener('change', () => this.view.changed());
    }
    this.view.onChange(() => this.listSteps());
    this.buttons();
    this.view.changed();
    if (this.divergences.length > 0) this.go(this.divergences[0].index);
    else this.describe(-1);
    this.element.dataset.ready = 'yes';
    // What is seen from afar only, before somebody goes there.
    const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
    idle(() => {
      this.lanes.prepare();
      this.memory.prepare();
      this.element.dataset.prepared = 'yes';
    });
  }

  buttons() {
    const { view } = this;
    const actions = {
      in: () => view.zoom(0.5, view.index >= 0 ? view.index : undefined),
      out: () => view.zoom(2),
      fit: () => view.fit(),
      previous: () => this.toDivergence(-1),
      next: () => this.toDivergence(1),
      clear: () => view.pickSpot(null),
    };
    for (const button of this.element.querySelectorAll('[data-do]')) {
      button.addEventListener('click', () => actions[button.dataset.do]());
    }
    for (const canvas of [this.find('lanes'), this.find('memory')]) {
      canvas.addEventListener('keydown', (event) => this.key(event));
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { view } = this;
    const step = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowRight: () => this.walk(step),
      ArrowLeft: () => this.walk(-step),
      ArrowDown: () => this.toLane(1),
      ArrowUp: () => this.toLane(-1),
      '+': () => view.zoom(0.5, view.index >= 0 ? view.index : undefined),
      '=': () => view.zoom(0.5, view.index >= 0 ? view.index : undefined),
      '-': () => view.zoom(2, view.index >= 0 ? view.index : undefined),
      0: () => view.fit(),
      Home: () => this.go(0),
      End: () => this.go(this.picture.count - 1),
      n: () => this.toDivergence(1),
      p: () => this.toDivergence(-1),
      Escape: () => view.pickSpot(null),
      Enter: () => this.pickSpotHere(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  walk(steps) {
    this.go((this.view.index < 0 ? Math.ceil(this.view.from) : this.view.index) + steps);
  }

  // The next event of the lane above or below.
  toLane(by) {
    const { picture, view } = this;
    const row = rowFrom(picture, Math.max(view.index, 0));
    const lane = (picture.lane[row] ?? 0) + by;
    for (let near = row; near < Math.min(row + 5000, picture.rows); near += 1) {
      if (picture.lane[near] === lane) {
        this.go(indexOfRow(picture, near));
        return;
      }
    }
  }

  pickSpotHere() {
    const row = rowOfIndex(this.picture, this.view.index);
    const spot = row >= 0 ? spotOfLife(this.picture, this.picture.life[row]) : null;
    if (spot) {
      this.view.pickSpot(spot);
      this.memory.goTo(spot.space);
    }
  }

  // Picks an event, tells what it is, and shows its memory.
  go(index, closely = false) {
    if (!this.picture) return;
    this.view.pick(index, closely);
    this.describe(this.view.index);
    const row = rowOfIndex(this.picture, this.view.index);
    const spot = row >= 0 ? spotOfLife(this.picture, this.picture.life[row]) : null;
    if (spot) this.memory.goTo(spot.space);
  }

  toDivergence(by) {
    if (this.divergences.length === 0) return;
    const at = this.divergences.findIndex(({ index }) => index >= this.view.index);
    const here = at < 0 ? this.divergences.length : at;
    const same = this.divergences[here]?.index === this.view.index;
    const wanted = by > 0 ? here + (same ? 1 : 0) : here - 1;
    const found = this.divergences[Math.min(Math.max(wanted, 0), this.divergences.length - 1)];
    this.go(found.index, true);
  }

  // What an event is, and how things stood before and after it.
  describe(index) {
    const out = this.find('state');
    const { picture } = this;
    out.replaceChildren();
    if (index < 0) {
      out.append(line('p', 'Point at an event, or walk with the arrow keys.', 'soft'));
      return;
    }
    const row = rowOfIndex(picture, index);
    if (row < 0) {
      out.append(line('p', `Event ${grouped(index + 1)} was aggregated: it has no details.`));
      return;
    }
    const lane = picture.lanes[picture.lane[row]].name;
    const head = `${stepWord(picture)} ${grouped(stepOfRow(picture, row))}, ${lane}: `;
    out.append(line('p', head + label(picture, row), 'event'));
    const life = picture.life[row];
    const before = stateAt(picture, life, index, false);
    const after = stateAt(picture, life, index, true);
    const table = document.createElement('table');
    table.append(tableRow('th', ['', 'before', 'after']));
    const words = (list) => (list && list.length ? list.join('; ') : 'nothing');
    if (before) {
      const { has_truth: truth, has_server: server } = picture.json.memory;
      const spot = spotOfLife(picture, life);
      const where = `${spaceName(picture, spot.space)} ${hex(spot.address)}`;
      if (truth) {
        const cells = [`truth at ${where}`, words(before.truth), words(after.truth)];
        table.append(tableRow('td', cells));
      }
      if (server) {
        const cells = [`the server shows at ${where}`, words(before.server), words(after.server)];
        table.append(tableRow('td', cells));
      }
    }
    if (picture.locks.length > 0) {
      const cells = [heldAt(picture, index, false), heldAt(picture, index, true)].map(words);
      table.append(tableRow('td', ['locks', ...cells]));
    }
    const at = this.divergences.filter((one) => one.index === index);
    for (const { row: found } of at) {
      const says = found ? found.dataset.divergence : 'a divergence, beyond those in the table';
      out.append(line('p', `✗ ${says}`, 'wrong'));
    }
    if (table.rows.length > 1) out.append(table);
    const stack = this.stackOf(life);
    if (stack) out.append(line('p', `allocated at ${stack}`, 'soft'));
  }

  stackOf(life) {
    const row = rowOfLife(this.picture, life);
    const stack = row >= 0 ? this.picture.lives.of[row] : 0;
    return stack ? this.picture.json.stacks[stack - 1] : null;
  }

  // What is under the pointer in the memory.
  hint(lines) {
    this.find('hint').textContent = lines.length ? lines.join(' · ') : ' ';
  }

  // The steps around the one that is picked, as a table.
  listSteps() {
    const { picture, view } = this;
    const body = this.find('steps');
    const middle = rowFrom(picture, Math.max(view.index, 0));
    const first = Math.max(0, Math.min(middle - (STEPS >> 1), picture.rows - STEPS));
    const last = Math.min(picture.rows, first + STEPS);
    if (this.listed === `${first}:${view.index}`) return;
    this.listed = `${first}:${view.index}`;
    body.replaceChildren();
    let picked = null;
    for (let row = first; row < last; row += 1) {
      const index = indexOfRow(picture, row);
      const wrong = this.divergences.filter((one) => one.index === index)
        .map((one) => `✗ ${one.row ? one.row.dataset.kind : ''}`).join(', ');
      const preempts = picture.marks[row] & 1 ? '▶ ' : '';
      const cells = [
        grouped(stepOfRow(picture, row)), picture.lanes[picture.lane[row]].name,
        preempts + label(picture, row), wrong,
      ];
      const shown = tableRow('td', cells);
      shown.dataset.event = index;
      shown.className = index === view.index ? 'picked' : '';
      if (index === picture.json.deciding) shown.className += ' deciding';
      shown.addEventListener('click', () => this.go(index));
      body.append(shown);
      if (index === view.index) picked = shown;
    }
    if (picked) {
      const list = body.closest('.steps');
      // A whole row is the first below the head, which stays.
      const above = body.rows[Math.max(picked.sectionRowIndex - 4, 0)];
      list.scrollTop = above.offsetTop - body.parentElement.tHead.offsetHeight;
    }
  }

  redraw() {
    if (!this.view) return;
    forgetColours();
    this.totals.draw();
    this.view.changed();
  }
}

function line(tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function tableRow(tag, cells) {
  const row = document.createElement('tr');
  for (const cell of cells) row.append(line(tag, cell));
  return row;
}

// Hides the rows of a table that lack one of the words.
function filter(element, input) {
  const table = element.querySelector(`[data-is="${input.dataset.filter}"]`);
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  const count = element.querySelector(`[data-count="${input.dataset.filter}"]`);
  if (count) count.textContent = `${grouped(shown)} shown`;
}

const parts = [...document.querySelectorAll('.part')].map((element) => new Part(element));

async function showPart(number) {
  const wanted = parts[number] ?? parts[0];
  for (const part of parts) part.element.hidden = part !== wanted;
  for (const tab of document.querySelectorAll('[data-tab]')) {
    const open = Number(tab.dataset.tab) === parts.indexOf(wanted);
    tab.setAttribute('aria-current', open ? 'page' : 'false');
  }
  await wanted.start();
  wanted.redraw();
  return wanted;
}

function shownPart() {
  return parts.find((part) => !part.element.hidden);
}

document.addEventListener('click', async (event) => {
  const target = event.target.closest('[data-open], [data-tab], [data-jump], [data-copy]');
  if (!target) return;
  if (target.dataset.copy !== undefined) {
    await copy(target);
    return;
  }
  if (target.dataset.open !== undefined || target.dataset.tab !== undefined) {
    await showPart(Number(target.dataset.open ?? target.dataset.tab));
    window.scrollTo(0, 0);
    return;
  }
  const part = shownPart();
  if (!part.picture) return;
  const [kind, at] = target.dataset.jump.split(':');
  const index = {
    event: (number) => number,
    step: (number) => indexOfStep(part.picture, number),
    position: (number) => indexOfPosition(part.picture, number),
  }[kind](Number(at));
  part.go(index, true);
  part.find('lanes').scrollIntoView({ block: 'center' });
  part.find('lanes').focus({ preventScroll: true });
});

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    done = document.execCommand('copy');
  }
  button.textContent = done ? 'copied' : 'select and copy';
  setTimeout(() => { button.textContent = 'copy'; }, 1500);
}

document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const input = shownPart()?.element.querySelector('input[data-filter]');
  if (!input) return;
  event.preventDefault();
  input.focus();
});

const again = () => shownPart()?.redraw();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
window.addEventListener('resize', again);
window.addEventListener('beforeprint', again);
window.addEventListener('afterprint', again);

showPart(0).then(() => {
  document.documentElement.dataset.opened = String(Math.round(performance.now()));
}, (error) => {
  document.documentElement.dataset.opened = 'failed';
  const said = line('p', `This page cannot show its pictures: ${error.message}`, 'wrong');
  document.querySelector('main').prepend(said);
});
