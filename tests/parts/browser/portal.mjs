// People's own pages, wide and narrow, light and dark: drawn into `shots`, none scrolls sideways, none fails a rule of axe-core for WCAG 2.2 AA; and
// everything on them is read, searched and done without a script too.
import { assert, checked, grafana, home, input, issuer, person, releases, run, shifted, signIn, sizes, text } from "./lib.mjs";

await run(async (browser) => {
  const pages = [];
  // Each page of somebody, in each size and colour.
  const look = async (who, places) => {
    for (const [size, viewport] of Object.entries(sizes)) {
      for (const colorScheme of ["light", "dark"]) {
        const one = await person(browser, { viewport, colorScheme });
        const page = await one.page();
        await signIn(page, `${home}/`, who);
        for (const [name, path] of Object.entries(places)) {
          await page.goto(home + path);
          const moved = await page.evaluate(shifted);
          assert(moved < 0.02, `${name} moves while it loads:`, moved);
          await checked(page, `portal-${name}-${size}-${colorScheme}`);
          const shot = `${input.shots}/portal-${name}-${size}-${colorScheme}.png`;
          await page.screenshot({ path: shot, fullPage: true });
          pages.push(shot);
        }
        one.calm();
        await one.context.close();
      }
    }
  };
  await look("carol", { nothing: "/" });

  // With a script: what is typed filters, "/" goes there, Escape shows all, Enter opens what fits first.
  const bob = await person(browser, { viewport: sizes.wide });
  await bob.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await bob.page();
  await signIn(page, `${home}/`, "bob");
  const seen = () => page.locator(".app:visible .title").allInnerTexts();
  assert((await seen()).join() === "dashboards,lines,releases", "all of it:", await seen());
  await page.keyboard.press("/");
  await page.keyboard.type("rele");
  assert((await seen()).join() === "releases", "filtered:", await seen());
  assert((await text(page)).includes("1 fits") && page.url().endsWith("?q=rele"), "said so:", page.url());
  await page.keyboard.press("Escape");
  assert((await seen()).length === 3 && page.url() === `${home}/`, "all again:", page.url());
  await page.click("button[aria-label='Copy wayleave forward lines'] >> nth=0");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert(copied === "wayleave forward lines", "copied", copied);
  await page.keyboard.press("/");
  await page.keyboard.type("dash");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${grafana}/`);

  // Without one: the search is a form, and asking, handing back and signing out elsewhere work.
  const plain = await person(browser, { javaScriptEnabled: false, viewport: sizes.narrow });
  const plains = await plain.page();
  await signIn(plains, `${home}/`, "bob");
  await plains.fill("input[type=search]", "rele");
  await plains.click("button:has-text('Search')");
  await plains.waitForURL(`${home}/?q=rele`);
  const found = await plains.locator(".app:visible .title").allInnerTexts();
  assert(found.join() === "releases", "found:", found);
  await plains.click(".app a:has-text('Ask')");
  await plains.fill("textarea[name=reason]", "the release of the month");
  await plains.selectOption("select[name=lasting]", "30m");
  await plains.click("button[value=ask]");
  await plains.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
  await plains.goto(`${home}/`);
  assert((await text(plains)).includes("lapses in"), "it waits:", await text(plains));
  await look("alice", { decide: "/access/requests" });
  await look("bob", { waits: "/" });

  const alice = await person(browser, { viewport: sizes.wide });
  const desk = await alice.page();
  await signIn(desk, `${home}/`, "alice");
  assert((await desk.innerText(".top .count")).startsWith("1"), "alice is told:", await text(desk));
  await desk.click(".top a:has-text('To decide')");
  await desk.click("button:has-text('Approve')");
  await desk.waitForURL(`${home}/access/requests`);
  await look("bob", { granted: "/", search: "/?q=graf", none: "/?q=nothing", mine: "/access/mine" });
  await look("alice", { granted: "/access/requests" });
  await plains.goto(`${home}/`);
  assert(await plains.locator(`a.card-app[href="${releases}/"]`).isVisible(), "it is open:", await text(plains));
  await plains.click("button:has-text('Hand back')");
  await plains.waitForURL((now) => now.search === "?done=over");
  assert((await text(plains)).includes("It is taken back"), "told:", await text(plains));
  assert(!(await plains.locator(`a.card-app[href="${releases}/"]`).isVisible()), "it is closed:", await text(plains));

  assert(await plains.locator("tbody .badge:has-text('here')").isVisible(), "which is this one:", await text(plains));
  await plains.click("text=Sign out everywhere but here");
  await plains.waitForURL((now) => now.search === "?done=others");
  assert((await plains.locator("tbody tr").count()) === 1, "one is left:", await text(plains));
  // The provider may know him still; without a session he has to pass by there all the same.
  const visited = [];
  page.on("request", (request) => visited.push(request.url()));
  await page.goto(`${home}/`);
  assert(visited.some((url) => url.startsWith(issuer)), "the other is signed out:", visited);
  bob.calm();
  plain.calm();
  alice.calm();
  return { pages };
});
