// The console's pages, wide and narrow, light and dark: drawn into `shots`, none scrolls sideways, none fails a rule of axe-core for WCAG 2.2 AA,
// and each does without its script what it does with it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { assert, at, grafana, home, input, issuer, payroll, person, run, signIn, text } from "./lib.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const sizes = { wide: { width: 1280, height: 860 }, narrow: { width: 390, height: 844 } };

async function checked(page, name) {
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert(wider <= 0, `${name} scrolls sideways by`, wider);
  // Not a script tag, which the page's policy would refuse.
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => globalThis.axe.run({ runOnly: { type: "tag", values: tags } }), tags);
  const faults = found.violations.map((one) => ({ rule: one.id, at: one.nodes.map((node) => `${node.html} ${node.failureSummary}`) }));
  assert(faults.length === 0, `${name} is not accessible:`, faults);
}

// Layout that moves while the page loads would be seen by whoever is about to click.
const shifted = () =>
  new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
  });

await run(async (browser) => {
  const pages = [];
  // Bob is refused something, so that there is something to see.
  const bob = await person(browser);
  const bobs = await bob.page();
  await signIn(bobs, `${grafana}/d/7?tab=1`, "bob");
  await bobs.goto(`${payroll}/reports/2031`);
  const decision = await bobs.locator("dl code").last().innerText();
  bob.calm(403);

  const first = await person(browser);
  const firsts = await first.page();
  // Whoever asks for a page of the console without a session comes back to it.
  await signIn(firsts, `${home}/console/audit?kind=denied`, "alice");
  assert(firsts.url() === `${home}/console/audit?kind=denied`, "arrived at", firsts.url());
  for (let tries = 0; !(await text(firsts)).includes("payroll.localhost/reports/2031"); tries++) {
    assert(tries < 100, "the refusal is never in the log:", await text(firsts));
    await firsts.reload();
  }
  await firsts.goto(`${home}/console/people?q=bob`);
  const bobsPath = await firsts.locator("tbody th a").first().getAttribute("href");

  const places = {
    overview: "/console",
    "overview-day": "/console?span=day",
    sessions: "/console/sessions",
    "sessions-none": "/console/sessions?q=nobody",
    "sessions-end": `/console/sessions/end?person=${bobsPath.split("/").pop()}`,
    "sessions-end-all": "/console/sessions/end",
    people: "/console/people",
    person: bobsPath,
    audit: "/console/audit",
    "audit-verified": "/console/audit?done=verified&kind=policy_written",
    decision: `/console/audit/decisions/${decision}`,
    settings: "/console/settings",
    claim: "/console/claim",
    "not-found": "/console/nothing",
  };
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ["light", "dark"]) {
      const alice = await person(browser, { viewport, colorScheme });
      const page = await alice.page();
      await signIn(page, `${home}/console`, "alice");
      for (const [name, path] of Object.entries(places)) {
        await page.goto(home + path);
        const moved = await page.evaluate(shifted);
        assert(moved < 0.02, `${name} moves while it loads:`, moved);
        await checked(page, `console-${name}-${size}-${colorScheme}`);
        const shot = `${input.shots}/console-${name}-${size}-${colorScheme}.png`;
        await page.screenshot({ path: shot, fullPage: true });
        pages.push(shot);
      }
      alice.calm(404);
      await alice.context.close();
    }
  }

  // Members are told what they lack.
  const carol = await person(browser, { viewport: sizes.wide });
  const carols = await carol.page();
  await signIn(carols, `${home}/console`, "carol");
  const told = await text(carols);
  assert(told.includes("read_policy") && told.includes("This is not for your role"), "not told:", told);
  await checked(carols, "console-forbidden");
  await carols.screenshot({ path: `${input.shots}/console-forbidden-wide-light.png`, fullPage: true });

  // From the keyboard: the skip link is first, and "/" finds the search.
  await firsts.goto(`${home}/console/audit`);
  await firsts.keyboard.press("/");
  assert(await firsts.evaluate(() => document.activeElement.name === "q"), "/ does not find the search");
  await firsts.goto(`${home}/console/audit`);
  await firsts.keyboard.press("Tab");
  assert((await firsts.evaluate(() => document.activeElement.textContent)) === "Skip to content", "no skip link");

  // Without a script: find Bob, end his sessions, read of it in the log.
  const plain = await person(browser, { javaScriptEnabled: false, viewport: sizes.narrow });
  const plains = await plain.page();
  await signIn(plains, `${home}/console/people?q=bob`, "alice");
  await plains.click("tbody th a");
  await plains.click("text=End every session");
  await plains.click("button.danger");
  assert((await text(plains)).includes("The sessions have ended"), "not told:", await text(plains));
  // The provider may know him still; without a session he has to pass by there all the same.
  const visited = [];
  bobs.on("request", (request) => visited.push(request.url()));
  await bobs.goto(`${grafana}/`);
  assert(visited.some((url) => url.startsWith(issuer)), "bob did not have to sign in again:", visited);
  await plains.goto(`${home}/console/audit?kind=session_ended`);
  const log = await text(plains);
  assert(log.includes("bob@demo.example: revoked") && log.includes("alice@demo.example"), "the log says:", log);
  await plains.click("text=Verify now");
  assert((await text(plains)).includes("Whole up to event"), "not verified:", await text(plains));
  first.calm(403, 404);
  plain.calm(403);
  return { pages };
});
