// With two providers people choose, are told what for, and arrive all the same.
import { assert, grafana, input, person, pick, run, text } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser, { viewport: { width: 390, height: 844 } });
  const page = await alice.page();
  const asked = `${grafana}/d/7?x=1`;
  await page.goto(asked);
  const seen = await text(page);
  for (const part of ["grafana.localhost", "Demo identity provider", "Another way in"]) assert(seen.includes(part), `no ${part}:`, seen);
  for (const width of [390, 1100]) {
    await page.setViewportSize({ width, height: 844 });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(wider <= 0, "scrolls sideways by", wider);
    await page.screenshot({ path: `${input.shots}/choose-${width}.png` });
  }
  await page.getByText("Another way in").click();
  await pick(page, "alice");
  await page.waitForURL(asked);
  assert((await text(page)).includes("ns/people/sa/alice"), "not reached as Alice");
  alice.calm();
});
