// Three people, three results; who is refused is told who they are, what they asked for, why not, and the decision's id.
import { assert, grafana, home, payroll, person, run, signIn, text } from "./lib.mjs";

const applications = { dashboards: grafana, payroll };
const expected = {
  alice: { dashboards: 200, payroll: 200 },
  bob: { dashboards: 200, payroll: 403 },
  carol: { dashboards: 403, payroll: 403 },
};

await run(async (browser) => {
  const refusals = {};
  for (const [who, results] of Object.entries(expected)) {
    const one = await person(browser);
    const page = await one.page();
    await signIn(page, `${home}/`, who);
    const own = await text(page);
    const offered = await page.locator("a.card-app").evaluateAll((links) => links.map((link) => link.href));
    assert(own.includes(who) && own.includes(`spiffe://demo.wayleave/ns/people/sa/${who}`), "the home page:", own);
    for (const [name, origin] of Object.entries(applications)) {
      const answer = await page.goto(`${origin}/report?year=2031`);
      assert(answer.status() === results[name], who, name, answer.status());
      // What the home page offers is what opens.
      assert(offered.includes(`${origin}/`) === (results[name] === 200), "the home page offers something else:", own);
      const seen = await text(page);
      if (answer.status() === 200) continue;
      const host = new URL(origin).hostname;
      const lines = await page.locator("dl").innerText();
      const decision = await page.locator("dl code").last().innerText();
      for (const part of [`${who}@`, `GET`, host, "/report"]) assert(lines.includes(part), `no ${part}:`, lines);
      assert(!seen.includes("year=2031"), "the query is repeated:", seen);
      assert(/^[0-9a-f-]{16,}$/.test(decision), "the decision's id:", decision);
      assert(answer.headers()["wayleave-response"] === "true", "whose answer is it?");
      refusals[`${who} ${name}`] = { decision, why: await page.locator("dl dd").nth(3).innerText() };
    }
    one.calm(403);
    await one.context.close();
  }
  return refusals;
});
