// A person arrives at the page first asked for; so do two tabs at once; a second application asks for nothing.
import { assert, grafana, payroll, person, pick, run, signIn, text, issuer } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser);
  const first = await alice.page();
  const asked = `${grafana}/d/42/board?from=now-6h&q=a%20b%26c&q=%C3%A4`;
  await signIn(first, asked, "alice");
  assert(first.url() === asked, "arrived at", first.url());
  const seen = await text(first);
  assert(seen.includes("spiffe://demo.wayleave/ns/people/sa/alice"), "not reached as Alice:", seen);
  assert(seen.includes("/d/42/board?from=now-6h&q=a%20b%26c&q=%C3%A4"), "the query string was changed:", seen);

  await first.goto(`${payroll}/march`);
  assert(first.url() === `${payroll}/march`, "the second application asked something:", first.url());
  assert((await text(first)).includes("ns/people/sa/alice"), "not reached as Alice");

  const cookies = await alice.context.cookies([grafana, payroll]);
  const session = cookies.filter((cookie) => cookie.name === "wayleave");
  assert(session.length === 2 && session.every((cookie) => cookie.httpOnly && cookie.sameSite === "Lax"), "cookies:", cookies);
  assert(!cookies.some((cookie) => cookie.name.startsWith("wayleave-signin-")), "a sign-in cookie is left:", cookies);
  alice.calm();

  // Two tabs, both at the provider before either goes on.
  const bob = await person(browser);
  const tabs = [await bob.page(), await bob.page()];
  const urls = [`${grafana}/one?tab=1`, `${grafana}/two?tab=2`];
  await Promise.all(tabs.map((tab, n) => tab.goto(urls[n])));
  assert(tabs.every((tab) => tab.url().startsWith(issuer)), "both are asked");
  await Promise.all(tabs.map((tab) => pick(tab, "bob")));
  const arrived = tabs.map((tab, n) => tab.waitForURL(urls[n], { timeout: 10_000 }));
  await Promise.all(arrived).catch(async () => {
    for (const tab of tabs) assert(urls.includes(tab.url()), "a tab is at", tab.url(), await text(tab));
  });
  for (const tab of tabs) {
    const seen = await text(tab);
    assert(seen.includes("ns/people/sa/bob"), "not reached as Bob:", tab.url(), seen);
  }
  // The later sign-in replaces the session of the earlier, whose tab may ask for its icon just then.
  bob.calm(401);
  return { arrived: asked };
});
