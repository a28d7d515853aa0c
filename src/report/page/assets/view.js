// The window in time that lanes, memory and totals share, and what is picked in it.

class View {
  constructor(picture, part) {
    this.picture = picture;
    this.part = part;
    this.from = -0.5;
    this.to = Math.max(picture.count - 0.5, 0.5);
    this.index = -1;
    this.spot = null;
    this.listeners = [];
    this.frame = 0;
  }

  get span() {
    return this.to - this.from;
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  changed() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      for (const listener of this.listeners) listener();
    });
  }

  // Shows from `from` to `to`, as far as there is something.
  show(from, to) {
    const least = -0.5;
    const most = Math.max(this.picture.count - 0.5, 0.5);
    const span = Math.min(Math.max(to - from, Math.min(4, most - least)), most - least);
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(middle - span / 2, least), most - span);
    this.to = this.from + span;
    this.changed();
  }

  fit() {
    this.show(-0.5, this.picture.count - 0.5);
  }

  // `factor` below 1 shows more detail; the event at `at` stays where it is.
  zoom(factor, at = (this.from + this.to) / 2) {
    const share = (at - this.from) / this.span;
    const most = Math.max(this.picture.count, 1);
    const span = Math.min(Math.max(this.span * factor, Math.min(4, most)), most);
    this.show(at - share * span, at + (1 - share) * span);
  }

  pan(events) {
    this.show(this.from + events, this.to + events);
  }

  // Picks an event, and brings it into view: closely, where it was far away.
  pick(index, closely = false) {
    if (this.picture.count === 0) return;
    this.index = Math.min(Math.max(index, 0), this.picture.count - 1);
    if (closely && this.span > 240) {
      this.show(this.index - 60, this.index + 60);
    } else if (this.index < this.from + 0.5 || this.index > this.to - 0.5) {
      this.show(this.index - this.span / 2, this.index + this.span / 2);
    }
    this.changed();
  }

  // Shows the lives of one address, and everything else faded.
  pickSpot(spot) {
    const same = this.spot && spot
      && this.spot.space === spot.space && this.spot.address === spot.address;
    this.spot = same ? null : spot;
    this.changed();
  }

  isFaded(life) {
    if (!this.spot) return false;
    if (!life) return true;
    const spot = spotOfLife(this.picture, life);
    return !spot || spot.space !== this.spot.space || spot.address !== this.spot.address;
  }
}

let known = null;

// The page's colours as they are now: they change with the theme, and for print, which is when
// `forgetColours` is called: to ask at each frame takes longer than to draw.
function colours() {
  known ??= readColours();
  return known;
}

function forgetColours() {
  known = null;
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: get('text'),
    soft: get('soft'),
    line: get('line'),
    paper: get('paper'),
    panel: get('panel'),
    accent: get('accent'),
    wrong: get('wrong'),
    amber: get('amber'),
    alloc: get('alloc'),
    free: get('free'),
    send: get('send'),
    receive: get('receive'),
    lock: get('lock'),
    step: get('step'),
    live: get('live'),
    shown: get('shown'),
  };
}

// A canvas as sharp as the screen; its size in CSS pixels.
function prepared(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(canvas.parentElement.clientWidth, 200);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const PATTERNS = new Map();

// A pattern of lines: what must not be told by colour alone.
function hatched(context, colour, gap, slope) {
  const key = `${colour} ${gap} ${slope}`;
  if (!PATTERNS.has(key)) PATTERNS.set(key, newPattern(context, colour, gap, slope));
  return PATTERNS.get(key);
}

function newPattern(context, colour, gap, slope) {
  const tile = document.createElement('canvas');
  tile.width = gap;
  tile.height = gap;
  const draw = tile.getContext('2d');
  draw.strokeStyle = colour;
  draw.lineWidth = 1.4;
  draw.beginPath();
  for (const shift of [-gap, 0, gap]) {
    if (slope >= 0) {
      draw.moveTo(shift, gap);
      draw.lineTo(shift + gap, 0);
    }
    if (slope <= 0) {
      draw.moveTo(shift, 0);
      draw.lineTo(shift + gap, gap);
    }
  }
  draw.stroke();
  return context.createPattern(tile, 'repeat');
}

// Dragging moves, the wheel zooms where the canvas has the focus or a key is held.
function movable(canvas, view, { left, onHover, onClick }) {
  const width = () => canvas.clientWidth - left;
  const at = (event) => view.from + ((event.offsetX - left) / width()) * view.span;
  let drag = null;
  canvas.addEventListener('pointerdown', (event) => {
    drag = { x: event.offsetX, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) {
      onHover(event.offsetX, event.offsetY, at(event));
      return;
    }
    const by = event.offsetX - drag.x;
    if (!drag.moved && Math.abs(by) < 4) return;
    drag = { x: event.offsetX, moved: true };
    view.pan((-by / width()) * view.span);
  });
  canvas.addEventListener('pointerup', (event) => {
    if (drag && !drag.moved) onClick(event.offsetX, event.offsetY, at(event));
    drag = null;
  });
  canvas.addEventListener('pointerleave', () => onHover(-1, -1, -1));
  canvas.addEventListener('wheel', (event) => {
    const held = event.ctrlKey || event.metaKey || document.activeElement === canvas;
    if (!held) return;
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      view.pan(((event.deltaX || event.deltaY) / width()) * view.span);
    } else {
      view.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 300), at(event));
    }
  }, { passive: false });
}
