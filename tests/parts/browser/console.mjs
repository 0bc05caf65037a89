// The console's pages, wide and narrow, light and dark: drawn into `shots`, none scrolls sideways, none fails a rule of axe-core for WCAG 2.2 AA,
// and each does without its script what it does with it.
import { assert, checked, grafana, home, input, issuer, payroll, person, releases, run, shifted, signIn, sizes, text } from "./lib.mjs";

await run(async (browser) => {
  const pages = [];
  // Each page, as Alice sees it, in each size and colour.
  const walk = async (places) => {
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
  };
  // Bob is refused something, so that there is something to see.
  const bob = await person(browser);
  const bobs = await bob.page();
  await signIn(bobs, `${grafana}/d/7?tab=1`, "bob");
  await bobs.goto(`${payroll}/reports/2031`);
  const decision = await bobs.locator("dl code").last().innerText();
  bob.calm(403);

  // He has been granted something, and asks for it once more when that is over: both are there to be seen.
  const request = async (reason) => {
    await bobs.goto(`${releases}/`);
    await bobs.click("text=Request access");
    await bobs.fill("textarea[name=reason]", reason);
    await bobs.click("button[value=ask]");
    await bobs.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
  };
  const decider = await person(browser);
  const deciders = await decider.page();
  await signIn(deciders, `${home}/console/requests`, "alice");
  await request("to look at the release of the month");
  await deciders.reload();
  await deciders.fill("input[name=why]", "that is not before Monday");
  await deciders.click("button:has-text('Refuse')");
  await request("it is Monday");
  await deciders.goto(`${home}/console/requests`);
  assert((await deciders.locator("nav .count").innerText()).startsWith("1"), "the navigation counts:", await text(deciders));
  await walk({ "requests-open": "/console/requests" });
  await deciders.goto(`${home}/console/requests`);
  await deciders.click("button:has-text('Approve')");
  const revoke = await deciders.locator("td.acts a").first().getAttribute("href");

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

  await walk({
    requests: "/console/requests",
    "grants-revoke": revoke,
    overview: "/console",
    "overview-day": "/console?span=day",
    sessions: "/console/sessions",
    programs: "/console/programs",
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
  });

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
  decider.calm();
  plain.calm(403);
  return { pages };
});
