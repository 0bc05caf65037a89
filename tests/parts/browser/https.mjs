// The same over TLS, the demo's certificate trusted by its key and nothing else ignored: cookies are `__Host-`.
import { assert, at, person, run, signIn, text } from "./lib.mjs";

await run(async (browser) => {
  const alice = await person(browser);
  const page = await alice.page();
  const [grafana, home] = [at("grafana", true), at("access", true)];
  await signIn(page, `${grafana}/tls?x=1`, "alice");
  assert(page.url() === `${grafana}/tls?x=1`, "arrived at", page.url());
  assert((await text(page)).includes("ns/people/sa/alice"), "not reached as Alice");
  const cookies = (await alice.context.cookies([grafana, home])).filter((cookie) => cookie.name.includes("wayleave"));
  assert(cookies.length === 2, "cookies:", cookies);
  for (const { name, secure, httpOnly, path } of cookies) {
    assert(name === "__Host-wayleave" && secure && httpOnly && path === "/", "a cookie:", name);
  }
  const answer = await page.goto(`${home}/`);
  assert(answer.headers()["strict-transport-security"], "no HSTS");
  await page.click("a[href='/.wayleave/sign-out']");
  await page.click("button");
  await page.waitForURL((now) => now.pathname === "/.wayleave/signed-out");
  alice.calm();
});
