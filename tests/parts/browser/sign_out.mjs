// Signing out ends the session at every host and at the provider; afterwards every page needs sign-in again.
import { assert, grafana, home, issuer, payroll, person, run, signIn, text } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser);
  const page = await alice.page();
  await signIn(page, `${grafana}/`, "alice");
  await page.goto(`${payroll}/`);
  await page.goto(`${home}/`);
  const before = (await alice.context.cookies()).filter((cookie) => cookie.name === "wayleave");
  assert(before.length === 3, "sessions at three hosts:", before);

  // The way out is found from any application, and asks first.
  await page.goto(`${grafana}/.wayleave/sign-out`);
  assert(page.url() === `${home}/.wayleave/sign-out`, "asked at", page.url());
  await page.click("button");
  await page.waitForURL((now) => now.pathname === "/.wayleave/signed-out");
  assert((await text(page)).includes("signed out"), "no word of it");
  const own = await alice.context.cookies(home);
  assert(!own.some((cookie) => cookie.name === "wayleave"), "the cookie stays:", own);

  // The other hosts' cookies are still in the browser, and worth nothing; the provider has forgotten her too.
  for (const url of [`${grafana}/x`, `${payroll}/x`, `${home}/`]) {
    await page.goto(url);
    assert(page.url().startsWith(issuer), "no sign-in needed at", url, page.url());
    assert((await text(page)).includes("Who are you today?"), "the provider still knows her");
  }
  for (const origin of [grafana, payroll]) {
    const answer = await page.goto(`${origin}/.wayleave/session`);
    assert(answer.status() === 401, origin, answer.status());
  }
  // Somebody else signs in in the same browser, from the page that says goodbye.
  await page.goto(`${home}/.wayleave/signed-out`);
  await page.click("a.button");
  await page.click("button[value=bob]");
  await page.waitForURL(`${home}/**`);
  assert((await text(page)).includes("bob@demo.example"), "not Bob:", await text(page));
  alice.calm(401);
});
