// Alice's pages follow what others do, without being loaded again: Bob asks, takes it back while she writes, asks once more, and signs out; then she does.
import { assert, home, person, pick, releases, run, signIn, text } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser);
  const desk = await alice.page();
  await signIn(desk, `${home}/console/requests`, "alice");
  await desk.evaluate(() => (window.isKept = true));
  const sees = (what) => desk.waitForFunction((what) => document.querySelector("main").innerText.includes(what), what);
  const isKept = async () => assert(await desk.evaluate(() => window.isKept), "the page was loaded again");
  await sees("Nobody waits");

  const bob = await person(browser, { javaScriptEnabled: false });
  const page = await bob.page();
  const ask = async (reason) => {
    await page.goto(`${releases}/deep/page`);
    if (page.url().includes("/authorize") || !page.url().startsWith(releases)) await pick(page, "bob");
    await page.waitForURL(`${releases}/deep/page`);
    await page.click("text=Request access");
    await page.fill("textarea[name=reason]", reason);
    await page.click("text=Request access");
    await page.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
  };
  await ask("the pager");
  await sees("the pager");
  const link = await desk.innerText("nav[aria-label=Console] a[href='/console/requests']");
  assert(link.includes("1"), "how much waits:", link);
  await isKept();

  // She is about to refuse what is not there any more.
  const why = desk.locator("input[name=why]");
  await why.pressSequentially("not to");
  await page.goto(`${home}/access/mine`);
  await page.click("text=Take it back");
  await desk.waitForSelector(".gone .notice");
  await why.pressSequentially("day");
  assert((await why.inputValue()) === "not today", "what she wrote:", await why.inputValue());
  assert(await desk.locator(".gone button").first().isDisabled(), "it can be sent");
  await isKept();

  // Once she leaves it, it goes.
  await why.fill("");
  await desk.locator("h1").click();
  await ask("the pager again");
  await sees("the pager again");
  assert((await desk.locator(".gone").count()) === 0, "it is still there:", await text(desk));
  assert((await desk.locator("article.request").count()) === 1, "requests:", await text(desk));
  await isKept();

  // Who leaves is gone from the list of who is there.
  await desk.goto(`${home}/console/sessions`);
  await desk.evaluate(() => (window.isKept = true));
  await sees("bob@demo.example");
  await page.goto(`${home}/.wayleave/sign-out`);
  await page.click("button:has-text('Sign out')");
  await desk.waitForFunction(() => !document.querySelector("main").innerText.includes("bob@demo.example"));
  await isKept();

  // Her own end is told as well.
  const other = await alice.page();
  await other.goto(`${home}/.wayleave/sign-out`);
  await other.click("button:has-text('Sign out')");
  await desk.waitForSelector("#live-over:not([hidden])");
  alice.calm(401);
  bob.calm(403);
});
