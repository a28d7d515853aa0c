// Opens pages of `heisenbed report` in Chromium, and does with them what a reader does. Run by
// `tests/browser/run`, which makes the pages; the screenshots that it leaves are for eyes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { statSync } from 'node:fs';
import { chromium } from 'playwright-core';

const pages = process.env.PAGES;
const shots = process.env.SHOTS;
let browser;

// A browser that crashes before it shows anything says nothing of the pages: it is started again.
async function started(tries = 3) {
  const options = { executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] };
  try {
    return await chromium.launch(options);
  } catch (error) {
    if (tries === 1) throw error;
    return started(tries - 1);
  }
}

before(async () => {
  browser = await started();
});
after(() => browser?.close());

// A page that must not say a word in the console, nor ask for anything but itself.
async function open(name, { width = 1280, scheme = 'light', grant = [] } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 }, colorScheme: scheme, permissions: grant,
  });
  const tab = await context.newPage();
  const said = [];
  const asked = [];
  tab.on('console', (message) => said.push(message.text()));
  tab.on('pageerror', (error) => said.push(error.stack));
  tab.on('dialog', (dialog) => said.push(`dialog: ${dialog.message()}`));
  tab.on('request', (request) => asked.push(request.url()));
  const address = `file://${pages}/${name}.html`;
  await tab.goto(address);
  await tab.waitForFunction(() => document.documentElement.dataset.opened);
  return {
    tab,
    async close() {
      assert.deepEqual(said, [], `${name}: the console`);
      const others = asked.filter((url) => url !== address);
      assert.deepEqual(others, [], `${name}: what was asked for`);
      await context.close();
    },
  };
}

const shown = (tab, name) => tab.locator(`.part:not([hidden]) [data-is="${name}"]`);

// What follows a change is drawn, and listed, in the next frame.
async function nextFrame(tab) {
  await tab.evaluate(() => new Promise((done) => {
    requestAnimationFrame(() => requestAnimationFrame(done));
  }));
}

async function rightOf(tab, key, times) {
  for (let k = 0; k < times; k += 1) await tab.keyboard.press(key);
}

test('a reproducer says its verdict, the explanation, and how to run it again', async () => {
  const { tab, close } = await open('race', { grant: ['clipboard-read', 'clipboard-write'] });
  const head = tab.locator('.head');
  assert.match(await head.innerText(), /✗ diverged/);
  assert.match(await head.innerText(), /duplicate-alloc on device 0, l1 0x19000/);
  assert.match(await head.innerText(), /The gap: between free \(step 12\)/);
  await tab.locator('[data-copy]').first().click();
  const copied = await tab.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^heisenbed replay .*race\.toml$/);
  assert.equal(await tab.locator('[data-copy]').first().innerText(), 'copied');
  await close();
});

test('a step in the explanation jumps to it, and its state is told', async () => {
  const { tab, close } = await open('race');
  await tab.locator('.head [data-jump="step:25"]').first().click();
  const state = await shown(tab, 'state').innerText();
  assert.match(state, /step 25, t0: send FREE 0x19000/);
  await tab.keyboard.press('ArrowRight');
  const taken = await shown(tab, 'state').innerText();
  assert.match(taken, /step 25, server: takes t0's FREE 0x19000: removed/);
  assert.match(taken, /✗ missing-live/);
  assert.match(taken, /the server shows at device 0 L1 0x19000\s+t1's .*B\s+nothing/);
  assert.match(taken, /truth at device 0 L1 0x19000\s+t1's \(life 2\), 4,096 B\s+t1's/);
  assert.match(taken, /t0 holds lifecycle of device 0; t0 holds tracker/);
  await close();
});

test('the keyboard walks from event to event and from divergence to divergence', async () => {
  const { tab, close } = await open('race');
  await shown(tab, 'lanes').focus();
  await tab.keyboard.press('Home');
  assert.match(await shown(tab, 'state').innerText(), /^step 1, t0: allocate s0/);
  await rightOf(tab, 'ArrowRight', 3);
  assert.match(await shown(tab, 'state').innerText(), /^step 4, t0: lock lifecycle of device 0/);
  await tab.keyboard.press('n');
  assert.match(await shown(tab, 'state').innerText(), /^step 18, server/);
  await tab.keyboard.press('n');
  assert.match(await shown(tab, 'state').innerText(), /^step 25, server/);
  await tab.keyboard.press('p');
  assert.match(await shown(tab, 'state').innerText(), /^step 18, server/);
  await nextFrame(tab);
  const steps = shown(tab, 'steps');
  assert.match(await steps.locator('tr.picked').innerText(), /^18\s+server/);
  assert.match(await steps.locator('tr.deciding').innerText(), /^13\s+t1\s+▶ /);
  await close();
});

test('hovering an event tells it, a click on an address fades the others', async () => {
  const { tab, close } = await open('race');
  const lanes = shown(tab, 'lanes');
  const box = await lanes.boundingBox();
  const at = (index, lane) => {
    const wide = (box.width - 112) / 33;
    return { x: 112 + (index + 0.5) * wide, y: 26 + 76 * (lane + 0.5) - 4 };
  };
  await lanes.hover({ position: at(1, 0) });
  assert.match(await shown(tab, 'state').innerText(), /step 2, t0: alloc 4,096 B device 0 L1/);
  const before = await lanes.evaluate((canvas) => canvas.toDataURL());
  await lanes.click({ position: at(1, 0) });
  await nextFrame(tab);
  const told = await shown(tab, 'state').innerText();
  assert.match(told, /truth at device 0 L1 0x19000\s+nothing\s+t0's/);
  const faded = await lanes.evaluate((canvas) => canvas.toDataURL());
  assert.notEqual(faded, before);
  await close();
});

test('the memory tells the truth, the server\'s picture and their difference', async () => {
  const { tab, close } = await open('race');
  const memory = shown(tab, 'memory');
  const box = await memory.boundingBox();
  const at = (share) => ({ x: 112 + (box.width - 112) * share, y: 150 });
  await memory.hover({ position: at(31 / 33) });
  const wrong = await shown(tab, 'hint').innerText();
  assert.match(wrong, /truth: 0x19000, 4,096 B/);
  assert.match(wrong, /difference: live, not shown, step 25 to the end/);
  await memory.hover({ position: at(10 / 33) });
  const right = await shown(tab, 'hint').innerText();
  assert.match(right, /server: entry of t0's \(life 1\)/);
  assert.doesNotMatch(right, /difference/);
  assert.match(await tab.locator('.u-legend').innerText(), /live.*\n?.*the server shows/s);
  await close();
});

test('the table of divergences filters, and each row is a jump', async () => {
  const { tab, close } = await open('run');
  const rows = shown(tab, 'divergences').locator('tbody tr');
  const all = await rows.count();
  assert.ok(all > 2);
  await tab.keyboard.press('/');
  await tab.keyboard.type('missing');
  const left = await shown(tab, 'divergences').locator('tbody tr:visible').count();
  assert.ok(left > 0 && left < all, `${left} of ${all}`);
  const row = shown(tab, 'divergences').locator('tbody tr:visible').last();
  const where = await row.locator('button').innerText();
  await row.locator('button').click();
  const state = await shown(tab, 'state').innerText();
  assert.ok(state.startsWith(where), `${where}: ${state}`);
  assert.match(state, /✗ missing-live/);
  await close();
});

test('evidence of the diagnosis jumps to its place', async () => {
  const { tab, close } = await open('run');
  assert.match(await tab.locator('.cause').first().innerText(), /reordering \(score/);
  await tab.locator('.cause [data-jump]').first().click();
  assert.match(await shown(tab, 'state').innerText(), /^step [\d,]+, server: takes t\d's ALLOC/);
  await close();
});

test('a clean run is said to be clean', async () => {
  const { tab, close } = await open('clean');
  assert.match(await tab.locator('.head').innerText(), /✓ clean/);
  assert.equal(await tab.locator('[data-is="divergences"]').count(), 0);
  assert.doesNotMatch(await tab.locator('.part').innerText(), /no message on its way explains/);
  await close();
});

test('several files are tabs of one page', async () => {
  const { tab, close } = await open('several');
  await tab.locator('[data-tab="1"]').click();
  await tab.waitForFunction(() => document.querySelectorAll('.part')[1].dataset.ready);
  assert.match(await tab.locator('.part:not([hidden]) h2').first().innerText(), /server's log/);
  await close();
});

test('a server\'s log is shown line by line', async () => {
  const { tab, close } = await open('log');
  assert.match(await tab.locator('.head').innerText(), /✗ diverged/);
  await shown(tab, 'lanes').focus();
  await tab.keyboard.press('n');
  assert.match(await shown(tab, 'state').innerText(), /^line \d+, process \d+: /);
  await close();
});

test('leaks stand by call stack, from the first frame that is the user\'s', async () => {
  const { tab, close } = await open('stacks');
  const leaks = shown(tab, 'leaks');
  const row = await leaks.locator('tbody tr').first().innerText();
  assert.match(row, /^4,096\s+1\s+/);
  assert.doesNotMatch(row.split('all ')[0], /c10::|at::/);
  const frames = await tab.locator('svg.flame title').allTextContents();
  assert.ok(frames.some((frame) => frame.includes('train.py')), frames.join('\n'));
  await close();
});

test('what is hostile in a log stays text', async () => {
  const { tab, close } = await open('hostile', { width: 900 });
  assert.equal(await tab.locator('img, iframe, object, link, base, form').count(), 0);
  assert.equal(await tab.evaluate(() => window.hacked), undefined);
  assert.equal(await tab.locator('script').count(), 3);
  const text = await tab.locator('body').innerText();
  assert.match(text, /<script>window\.hacked = 1<\/script>/);
  assert.doesNotMatch(text, /[\u202e\0]/);
  assert.match(text, /\\u\{202e\}/);
  assert.match(text, /characters more\)/);
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 900, `a long name widens the page to ${wide}`);
  await close();
});

test('a matrix opens the smallest run of a cell', async () => {
  const { tab, close } = await open('matrix');
  const cells = shown(tab, 'matrix').locator('button');
  assert.ok(await cells.count() > 0);
  assert.ok(await shown(tab, 'matrix').locator('td.good').count() > 0);
  await cells.first().click();
  await tab.waitForFunction(() => document.querySelector('.part:not([hidden])').dataset.ready);
  assert.match(await tab.locator('.part:not([hidden]) .head').innerText(), /✗ diverged/);
  await tab.locator('[data-tab="0"]').click();
  assert.ok(await shown(tab, 'matrix').isVisible());
  await close();
});

test('a campaign shows its nights, causes and canaries', async () => {
  const { tab, close } = await open('campaign');
  const text = await tab.locator('.part:not([hidden])').innerText();
  for (const word of [/Nights/, /Causes/, /Canaries/, /✗ duplicate-alloc/, /✗ not found/]) {
    assert.match(text, word);
  }
  await close();
});

test('a program that failed under run is shown with its source lines', async () => {
  const { tab, close } = await open('program');
  assert.match(await tab.locator('.head').innerText(), /✗ deadlock/);
  await shown(tab, 'lanes').focus();
  await tab.keyboard.press('n');
  assert.match(await shown(tab, 'state').innerText(), /thread \d: .*\(.*\.c:\d+\)/);
  await close();
});

// Seconds of processor time of the page's own thread: other work on the machine is not in it.
async function busySeconds(session) {
  const { metrics } = await session.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'TaskDuration').value;
}

test('a million events open and zoom, in how much time is said', async (t) => {
  const bytes = statSync(`${pages}/million.html`).size;
  const { tab, close } = await open('million');
  const session = await tab.context().newCDPSession(tab);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  await tab.reload();
  await tab.waitForFunction(() => document.documentElement.dataset.opened);
  const opened = await busySeconds(session);
  await tab.waitForFunction(() => document.querySelector('.part').dataset.prepared);
  const prepared = await busySeconds(session);
  const wall = Number(await tab.evaluate(() => document.documentElement.dataset.opened));
  const count = 120;
  const rate = await tab.evaluate(async (frames) => {
    const lanes = document.querySelector('[data-is="lanes"]');
    const next = () => new Promise((done) => { requestAnimationFrame(done); });
    const press = (key) => lanes.dispatchEvent(new KeyboardEvent('keydown', { key }));
    lanes.focus();
    await next();
    const began = performance.now();
    for (let k = 0; k < frames; k += 1) {
      press(k % 28 < 14 ? '+' : '-');
      await next();
    }
    return (frames * 1000) / (performance.now() - began);
  }, count);
  const each = ((await busySeconds(session)) - prepared) / count;
  t.diagnostic(`${bytes} bytes; opened in ${opened.toFixed(2)} s of processor time, ${wall} ms`);
  const beside = (prepared - opened).toFixed(2);
  t.diagnostic(`${beside} s more when nothing else is to be done`);
  t.diagnostic(`a frame takes ${(1000 * each).toFixed(1)} ms; ${rate.toFixed(0)} frames/s`);
  assert.ok(bytes <= 8 << 20, `${bytes} bytes`);
  // The goals are 2 s and 1/30 s; what a machine of others needs is no failure, a hang is one.
  assert.ok(opened <= 20, `opening takes ${opened} s`);
  assert.ok(each <= 0.5, `a frame takes ${each} s`);
  await close();
});

// How many pixels of the memory have a colour of the page.
const inked = (tab, name) => shown(tab, 'memory').evaluate((canvas, colour) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(120, 0, canvas.width - 120, canvas.height);
  const style = getComputedStyle(document.documentElement);
  const hex = style.getPropertyValue(`--${colour}`).trim();
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const ink = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  return new Uint32Array(data.buffer).filter((pixel) => pixel === ink).length;
}, name);

test('the memory of a million events is seen from afar, as far as it is wanted', async () => {
  const { tab, close } = await open('million');
  await tab.locator('[data-do="fit"]').first().click();
  for (const name of ['wrong', 'live']) {
    await nextFrame(tab);
    assert.ok(await inked(tab, name) > 200, `${name}: ${await inked(tab, name)}`);
    await shown(tab, `memory-${name}`).uncheck();
    await nextFrame(tab);
    assert.equal(await inked(tab, name), 0, name);
  }
  await close();
});

test('the page prints', async () => {
  const { tab, close } = await open('race');
  await tab.emulateMedia({ media: 'print' });
  assert.equal(await tab.locator('.controls').first().isVisible(), false);
  const printed = await tab.pdf();
  assert.ok(printed.length > 10000);
  await close();
});

for (const name of ['race', 'run', 'log', 'stacks', 'matrix', 'campaign', 'program', 'hostile']) {
  test(`${name} fits three widths in both themes`, async () => {
    for (const width of [390, 900, 1440]) {
      for (const scheme of ['light', 'dark']) {
        const { tab, close } = await open(name, { width, scheme });
        const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${name} is ${wide} wide on ${width}`);
        await tab.screenshot({ path: `${shots}/${name}-${width}-${scheme}.png`, fullPage: true });
        await close();
      }
    }
  });
}
