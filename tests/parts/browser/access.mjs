// Bob asks for releases, Alice approves, and his page goes on by itself: without JavaScript. Then it is taken away.
import { assert, releases, home, input, person, pick, run, signIn, text } from "./lib.mjs";

await run(async (browser) => {
  const bob = await person(browser, { javaScriptEnabled: false });
  const page = await bob.page();
  await page.goto(`${releases}/deep/page?q=1`);
  await pick(page, "bob");
  await page.waitForURL(`${releases}/deep/page?q=1`);
  assert((await text(page)).includes("Access has to be asked for"), "he is told:", await text(page));
  await page.click("text=Request access");
  await page.waitForURL((now) => now.pathname === "/access/ask");
  await page.fill("textarea[name=reason]", "the pager");
  await page.selectOption("select[name=lasting]", "30m");
  await page.click("text=Request access");
  await page.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
  assert((await text(page)).includes("Waiting for an approval"), "it waits:", await text(page));

  const alice = await person(browser, { viewport: { width: 390, height: 844 } });
  const desk = await alice.page();
  await signIn(desk, `${home}/`, "alice");
  await desk.click("text=To decide");
  await desk.waitForURL((now) => now.pathname === "/access/requests");
  const told = await text(desk);
  for (const part of ["bob@demo.example", "the pager", "30m", "releases.localhost"]) assert(told.includes(part), `no ${part}:`, told);
  const wider = await desk.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert(wider <= 0, "the page scrolls sideways by", wider);
  await desk.screenshot({ path: `${input.shots}/access-requests-narrow.png`, fullPage: true });
  await desk.click("text=Approve");
  await desk.waitForURL((now) => now.pathname === "/access/requests");
  assert((await text(desk)).includes("Granted now"), "it is granted:", await text(desk));

  // Nobody touches his page.
  await page.waitForURL(`${releases}/deep/page?q=1`, { timeout: 15000 });
  assert((await text(page)).includes("bob"), "he is in:", await text(page));
  await page.goto(`${home}/access/mine`);
  assert((await text(page)).includes("alice@demo.example"), "who approved:", await text(page));

  await desk.click("text=Take it away");
  await desk.waitForURL((now) => now.pathname === "/access/requests");
  const answer = await page.goto(`${releases}/`);
  assert(answer.status() === 403, "it is over:", answer.status());
  bob.calm(403);
  alice.calm();
});
