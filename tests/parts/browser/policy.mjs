// The console's policy pages: an admin edits a rule in form and text, sees whom it would hit, and sends it for review; a second one approves and applies; it is
// gone back on. Then each page, wide and narrow, light and dark: drawn into `shots`, none scrolls sideways, none fails a rule of axe-core for WCAG 2.2 AA.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { assert, grafana, home, input, person, run, signIn, text } from "./lib.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const sizes = { wide: { width: 1280, height: 860 }, narrow: { width: 390, height: 844 } };
const faults = [];

async function checked(page, name) {
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wider > 0) faults.push(`${name} scrolls sideways by ${wider}`);
  // Not a script tag, which the page's policy would refuse.
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => globalThis.axe.run({ runOnly: { type: "tag", values: tags } }), tags);
  for (const one of found.violations) {
    faults.push(`${name}: ${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ").slice(0, 600)}`);
  }
}

async function includes(page, ...parts) {
  const seen = await text(page);
  for (const part of parts) assert(seen.includes(part), `no ${part} at ${page.url()}:`, seen);
}

await run(async (browser) => {
  const pages = [];
  const [alice, bob] = [await person(browser, { viewport: sizes.wide }), await person(browser, { viewport: sizes.wide })];
  const [hers, his] = [await alice.page(), await bob.page()];
  await signIn(his, `${grafana}/d/7`, "bob");
  await signIn(hers, `${home}/console/rules?q=dashboards`, "alice");

  // She finds the rule and edits it in the form; the text follows.
  await hers.click("tbody th a");
  await includes(hers, "staff-may-see-dashboards", "group staff", "revision 1");
  await hers.click("text=Edit");
  const groups = hers.locator("textarea[name='f.from.0.groups']");
  assert((await groups.inputValue()) === "staff", "the form has", await groups.inputValue());
  const loses = hers.locator("#outcome >> text=would lose access");
  // What Bob did has to arrive in the store first.
  for (let tries = 0; !(await loses.isVisible()); tries++) {
    assert(tries < 60, "nobody would lose anything:", await hers.innerText("#outcome"));
    await groups.fill(tries % 2 ? "sre" : "sre\n");
    await hers.waitForSelector("#outcome:not([aria-busy]) .preview");
  }
  await includes(hers, "1 person would lose access; last used");
  assert((await hers.inputValue("#yaml")).includes("- sre"), "the text did not follow:", await hers.inputValue("#yaml"));
  // She goes on in the text; the form follows.
  await hers.fill("#yaml", (await hers.inputValue("#yaml")).replace("action: allow", "action: allow   # for now") + "mode: shadow\n");
  await hers.waitForFunction(() => document.querySelector("select[name='f.mode']").value === "shadow");
  await hers.selectOption("select[name='f.mode']", "");
  await hers.waitForFunction(() => !document.querySelector("#yaml").value.includes("mode: shadow"));
  assert((await hers.inputValue("#yaml")).includes("# for now"), "the comment is gone:", await hers.inputValue("#yaml"));
  // What cannot be written cannot be saved.
  const good = await hers.inputValue("#yaml");
  await hers.fill("#yaml", `${good}nothing: here\n`);
  await hers.waitForSelector("#outcome .alert");
  await includes(hers, "This cannot be written", "this key is not known here");
  assert(!(await hers.locator("#save").isVisible()), "it could be saved");
  await hers.fill("#yaml", good);
  await hers.waitForSelector("#save");
  // A suggestion becomes a line.
  const adder = hers.locator(".adder[data-for='f.from.0.groups'] input");
  await adder.fill("contractors");
  await adder.press("Enter");
  await hers.waitForFunction(() => document.querySelector("#yaml").value.includes("contractors"));
  await hers.waitForSelector("#outcome:not([aria-busy]) #save");
  await groups.fill("sre");
  await hers.waitForFunction(() => !document.querySelector("#yaml").value.includes("contractors"));
  await hers.waitForSelector("#outcome:not([aria-busy]) #save");
  await includes(hers, "needs the approval of one person who did not write it");
  await hers.screenshot({ path: `${input.shots}/policy-editor-live.png`, fullPage: true });
  await hers.fill("#message", "dashboards are for sre");
  await hers.click("text=Send for review");
  await includes(hers, "The draft was left for review", "Somebody else has to review what you wrote", "0 of 1 approvals");

  // He comments, approves and applies.
  await his.goto(`${home}/console/drafts`);
  await his.click("tbody td a");
  await includes(his, "dashboards are for sre", "1 person would lose access");
  await his.fill("#comment", "That is me.\nFine.");
  await his.click("button:has-text('Comment')");
  await includes(his, "That is me.");
  await his.fill("#review-message", "agreed");
  await his.click("text=Approve version");
  await includes(his, "You approved of this version", "1 of 1 approvals");
  await his.click("button:has-text('Apply')");
  await includes(his, "This is the current revision now", "dashboards are for sre");
  for (let tries = 0; (await his.goto(`${grafana}/d/7`)).status() !== 403; tries++) assert(tries < 100, "he still gets in");

  // It is gone back on, without a script this time, and with the same two people.
  const plain = await person(browser, { javaScriptEnabled: false, viewport: sizes.narrow });
  const plains = await plain.page();
  await signIn(plains, `${home}/console/revisions/1`, "alice");
  await plains.click("text=Go back to this");
  await includes(plains, "What people would notice", "What changes");
  await plains.fill("#message", "not yet");
  await plains.click("text=Save as draft");
  await plains.click("text=Send for review");
  await includes(plains, "The draft was left for review");
  // And the editor, without one.
  await plains.goto(`${home}/console/edit?kind=rule&name=sre-may-read-payroll`);
  await plains.fill("textarea[name='f.from.0.groups']", "sre\nstaff");
  await plains.click("text=Preview the form");
  await includes(plains, "What changes");
  await plains.fill("#yaml", (await plains.inputValue("#yaml")).replace("GET", "POST"));
  await Promise.all([plains.waitForEvent("domcontentloaded"), plains.click("text=Preview the YAML")]);
  assert((await plains.inputValue("textarea[name='f.to.0.methods']")).includes("POST"), "the form did not follow");
  plain.calm();

  await his.goto(`${home}/console/drafts/2`);
  await his.fill("#review-message", "so be it");
  await his.click("text=Approve version");
  await his.click("button:has-text('Apply')");
  await includes(his, "not yet", "This is the current revision now");
  for (let tries = 0; (await his.goto(`${grafana}/d/7`)).status() !== 200; tries++) assert(tries < 100, "he is still kept out");

  // One more draft, which is left for the pictures.
  await hers.goto(`${home}/console/edit?kind=route&name=payroll`);
  await hers.fill("input[name='f.prefix']", "/reports");
  await hers.waitForSelector("#outcome:not([aria-busy]) #save");
  await hers.fill("#message", "only the reports");
  await hers.click("text=Save as draft");

  const asked = `url=${encodeURIComponent(`${grafana}/d/7`)}&who=bob%40demo.example`;
  const places = {
    rules: "/console/rules",
    "rules-none": "/console/rules?q=nothing-at-all",
    rule: "/console/rules/staff-may-see-dashboards",
    routes: "/console/routes",
    route: "/console/routes/dashboards",
    mappings: "/console/mappings",
    mapping: "/console/mappings/people",
    "named-people": "/console/named-people",
    roles: "/console/roles",
    role: "/console/roles/owners",
    tests: "/console/tests",
    "editor-rule": "/console/edit?kind=rule&name=sre-may-read-payroll",
    "editor-route": "/console/edit?kind=route&name=dashboards",
    "editor-new": "/console/edit?kind=rule",
    "editor-mapping": "/console/edit?kind=mapping",
    "editor-remove": "/console/edit?kind=rule&name=staff-may-see-dashboards&remove=1",
    revisions: "/console/revisions",
    revision: "/console/revisions/2",
    compare: "/console/revisions/compare?from=1&to=2",
    rollback: "/console/revisions/2/rollback",
    drafts: "/console/drafts?all=1",
    draft: "/console/drafts/3",
    "draft-over": "/console/drafts/1",
    simulator: "/console/simulator",
    "simulator-allowed": `/console/simulator?${asked}`,
    "simulator-refused": `/console/simulator?${asked}&revision=2`,
    "simulator-unreadable": "/console/simulator?url=%2F%2F",
  };
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ["light", "dark"]) {
      const one = await person(browser, { viewport, colorScheme });
      const page = await one.page();
      await signIn(page, `${home}/console`, "alice");
      for (const [name, path] of Object.entries(places)) {
        const answer = await page.goto(home + path);
        assert(answer.status() === 200, name, answer.status());
        await checked(page, `${name}-${size}-${colorScheme}`);
        const shot = `${input.shots}/policy-${name}-${size}-${colorScheme}.png`;
        await page.screenshot({ path: shot, fullPage: true });
        pages.push(shot);
      }
      one.calm();
      await one.context.close();
    }
  }
  assert(faults.length === 0, "not as it should be:", faults);
  alice.calm();
  bob.calm(403);
  return { pages };
});
