// Opens the status page in Chromium: node page.mjs URL MODULES FOLDER SCENARIO. Prints measurements as JSON; fails on the
// first thing that is wrong. MODULES has playwright-core and axe-core, FOLDER receives the screenshots.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [url, modules, folder, scenario] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const open = async (options, path = "/") => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  const problems = [];
  page.on("console", message => { if (message.type() === "error") problems.push(message.text()); });
  page.on("pageerror", error => problems.push(String(error)));
  page.on("request", request => { if (!request.url().startsWith(url)) problems.push(`request to ${request.url()}`); });
  await page.goto(url + path, { waitUntil: "domcontentloaded" });
  return { page, problems };
};
const rows = page => page.locator(".jobs tbody tr");
const serious = async page => {
  // The policy of the page allows no other script, so the checks run in the isolated world of the debugger.
  const client = await page.context().newCDPSession(page);
  const { frameTree } = await client.send("Page.getFrameTree");
  const world = await client.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
  const run = async (expression, awaitPromise) => {
    const { result, exceptionDetails } = await client.send("Runtime.evaluate",
      { expression, contextId: world.executionContextId, awaitPromise, returnByValue: true });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return result.value;
  };
  await run(`${axe};0`, false);
  const violations = await run("axe.run().then(result => result.violations.map(v => ({ id: v.id, impact: v.impact, nodes: v.nodes.map(n => n.html) })))", true);
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical");
};

const scenarios = {
  // Jobs of every kind and state, hostile texts among them.
  async states() {
    const { page, problems } = await open();
    await page.locator("#live:not([hidden])").waitFor();
    const names = await rows(page).locator("th").allTextContents();
    assert.ok(names.includes("update/77"), names.join(" "));
    for (const text of ["buildbox-2", "chat"]) await page.locator("#below", { hasText: text }).waitFor();
    assert.equal(await page.locator("b, img, script[src]").count(), 0, "markup of a label or an error came alive");
    assert.deepEqual(await serious(page), []);
    await page.screenshot({ path: `${folder}/light.png` });

    // Every control by Tab, in order.
    const reached = [];
    for (let n = 0; n < 6; n += 1) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => document.activeElement.name || document.activeElement.textContent));
    }
    assert.deepEqual(reached.slice(0, 4), ["q", "label", "state", "Filter"]);
    assert.match(reached[4], /^(diff|update|version)\/\d+$/);

    // The filter is in the URL, and a page opened by that URL shows the same.
    await page.fill("[name=q]", "update/77");
    await page.waitForFunction(() => document.querySelectorAll(".jobs tbody tr").length === 1);
    assert.match(page.url(), /\?q=update%2F77$/);
    const { page: again } = await open({}, new URL(page.url()).search);
    assert.deepEqual(await rows(again).locator("th").allTextContents(), ["update/77"]);
    const { page: byLabel } = await open({}, "/?label=stage%3Dlive");
    assert.ok(await rows(byLabel).count() > 0);
    const { page: byState } = await open({}, "/?state=failed");
    assert.deepEqual(await rows(byState).locator("td:nth-child(2)").allTextContents().then(all => [...new Set(all.map(t => t.trim()))]), ["failed"]);

    const { page: dark } = await open({ colorScheme: "dark" });
    assert.deepEqual(await serious(dark), []);
    await dark.screenshot({ path: `${folder}/dark.png` });
    const { page: narrow } = await open({ viewport: { width: 390, height: 844 } });
    assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= 390), "the page is wider than the phone");
    assert.deepEqual(await serious(narrow), []);
    await narrow.screenshot({ path: `${folder}/narrow.png` });
    const { page: plain, problems: plainProblems } = await open({ javaScriptEnabled: false });
    assert.deepEqual((await rows(plain).locator("th").allTextContents()).sort(), names.sort());
    assert.deepEqual(plainProblems, []);

    // The page of a job.
    await page.goto(`${url}/jobs/update/77`);
    assert.ok(await page.locator(".timeline .poll").count() > 0);
    assert.deepEqual(await serious(page), []);
    await page.screenshot({ path: `${folder}/job.png` });
    assert.deepEqual(problems, []);
    return {};
  },

  // A job ends while the page is open.
  async live() {
    const { page, problems } = await open();
    await page.locator("#live:not([hidden])").waitFor();
    const row = page.locator('tr[id="diff/1"]');
    await row.filter({ hasText: "running" }).waitFor();
    await row.filter({ hasText: "completed" }).waitFor();
    await page.locator("#announce", { hasText: "diff/1" }).waitFor();
    assert.deepEqual(problems, []);
    return {};
  },

  // A thousand jobs, a hundred updates a second.
  async many() {
    const response = await fetch(`${url}/`);
    const bytes = (await response.arrayBuffer()).byteLength;
    const { page, problems } = await open();
    const count = await rows(page).count();
    await page.locator("#live:not([hidden])").waitFor();
    // The processor time of each task of the page's thread: it does not depend on what else the machine does.
    const client = await page.context().newCDPSession(page);
    const events = [];
    client.on("Tracing.dataCollected", ({ value }) => events.push(...value));
    const counted = await page.evaluateHandle(() => {
      const state = { updates: 0 };
      new EventSource("/api/v1/events").onmessage = () => { state.updates += 1; };
      return state;
    });
    const before = await page.evaluate(() => document.querySelector(".jobs").textContent);
    await client.send("Tracing.start", { traceConfig: { includedCategories: ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline"] } });
    await page.waitForFunction(state => state.updates >= 1000, counted, { timeout: 120_000 });
    const done = new Promise(resolve => client.once("Tracing.tracingComplete", resolve));
    await client.send("Tracing.end");
    await done;
    assert.notEqual(await page.evaluate(() => document.querySelector(".jobs").textContent), before, "no row was updated");
    const threads = new Set(events.filter(e => e.name === "thread_name" && e.args.name === "CrRendererMain").map(e => `${e.pid}/${e.tid}`));
    const tasks = events.filter(e => e.name === "RunTask" && threads.has(`${e.pid}/${e.tid}`)).map(e => (e.tdur ?? e.dur) / 1000)
      .filter(Number.isFinite);
    assert.ok(tasks.length > 100, `${tasks.length} tasks`);
    assert.deepEqual(problems, []);
    return { bytes, count, longest_task_ms: Math.max(...tasks) };
  },
};

try {
  console.log(JSON.stringify(await scenarios[scenario]()));
} finally {
  await browser.close();
}
