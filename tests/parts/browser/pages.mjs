// Every page, wide and narrow, light and dark, as pictures in `shots`; none of them scrolls sideways, and whoever uses the keyboard sees where they are.
import { assert, at, releases, grafana, home, input, payroll, person, run, signIn } from "./lib.mjs";

const sizes = { wide: { width: 1100, height: 800 }, narrow: { width: 390, height: 844 } };

await run(async (browser) => {
  const pages = [];
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ["light", "dark"]) {
      const bob = await person(browser, { viewport, colorScheme });
      const page = await bob.page();
      const look = async (name) => {
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert(wider <= 0, `${name} scrolls sideways (${size}) by`, wider);
        const path = `${input.shots}/${name}-${size}-${colorScheme}.png`;
        await page.screenshot({ path, fullPage: true });
        pages.push(path);
      };
      await page.goto(`${home}/`);
      await look("provider");
      await signIn(page, `${home}/`, "bob");
      await look("home");
      // A key that comes before the page is ready for any goes nowhere.
      const isFocused = () => page.evaluate(() => document.activeElement !== document.body);
      for (let presses = 0; presses < 20 && !(await isFocused()); presses++) await page.keyboard.press("Tab");
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert(outline !== "none", "the focus cannot be seen");
      await look("home-focus");
      await page.goto(`${payroll}/reports/2031/a-rather-long-path-that-has-to-be-broken-somewhere/if-it-is-to-fit`);
      await look("refused");
      await page.goto(`${releases}/`);
      await look("refused-but");
      await page.click("text=Request access");
      await look("ask");
      await page.fill("textarea[name=reason]", "a-rather-long-word-that-has-to-be-broken-somewhere-".repeat(5));
      await page.click("button[value=ask]");
      await page.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
      await look("waiting");
      await page.goto(`${home}/access/mine`);
      await look("mine");
      await page.click("button:has-text('Take it back')");
      await page.waitForURL(`${home}/access/mine`);
      await page.goto(`${home}/access/requests`);
      await look("requests");
      await page.goto(`${grafana}/`);
      await look("workload");
      await page.goto(`${at("nowhere")}/`);
      await look("no-route");
      await page.goto(`${home}/nothing/here`);
      await look("not-found");
      await page.goto(`${home}/.wayleave/sign-in?attempt=${"A".repeat(43)}`);
      await look("expired");
      await page.goto(`${home}/.wayleave/sign-out`);
      await look("sign-out");
      await page.click("button");
      await page.waitForURL((now) => now.pathname === "/.wayleave/signed-out");
      await look("signed-out");
      await page.goto(`${home}/.wayleave/callback/demo?code=x&state=${"A".repeat(43)}`);
      await look("callback");
      bob.calm(400, 403, 404, 410, 421);
      await bob.context.close();
    }
  }
  return { pages };
});
