// A person lets the command line in: `input.url` is what `wayleave login --no-browser` printed. Or a machine, whose code is `input.code`.
import { assert, input, person, pick, run, text, issuer } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser, { viewport: { width: 390, height: 844 } });
  const page = await alice.page();
  const fits = async (name) => {
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(wider <= 0, `${name} scrolls sideways by`, wider);
    await page.screenshot({ path: `${input.shots}/${name}-narrow-light.png`, fullPage: true });
  };
  await page.goto(input.url);
  if (page.url().startsWith(issuer)) await pick(page, "alice");
  if (input.code) {
    await page.waitForSelector("input[name=user_code]");
    await fits("device");
    await page.fill("input[name=user_code]", input.code);
    await page.click("button:has-text('Go on')");
    await page.waitForSelector("button[value=allow]");
    await fits("device-confirm");
    const seen = await text(page);
    for (const part of [input.code, "127.0.0.1", "Allow it only if you see this code"]) assert(seen.includes(part), `no ${part}:`, seen);
    await page.click("button[value=allow]");
    await page.waitForSelector("h1:has-text('The machine is let in')");
  } else {
    await page.waitForSelector("button[value=allow]");
    await fits("consent");
    const seen = await text(page);
    assert(seen.includes("alice@demo.example") && seen.includes("127.0.0.1"), "who and where:", seen);
    // The form's answer leads to the port that waits: the content security policy must let it.
    await page.click("button[value=allow]");
    await page.waitForSelector("h1:has-text('This machine is let in')");
    assert(page.url().startsWith("http://127.0.0.1:"), "arrived at", page.url());
  }
  alice.calm(404);
});
