// The pictures of README.md, into `shots`: the portal, the console's overview, a rule being edited with what it would do, and a refusal. The edge follows
// no file, and its policy has more to open than the demonstration's.
import { assert, at, grafana, home, input, payroll, person, releases, run, signIn, text } from "./lib.mjs";

const wide = { width: 1200, height: 780 };

await run(async (browser) => {
  const [alice, bob] = [await person(browser, { viewport: wide }), await person(browser, { viewport: wide, colorScheme: "dark" })];
  const [hers, his] = [await alice.page(), await bob.page()];
  const take = (page, name) => page.screenshot({ path: `${input.shots}/${name}.png` });
  const ask = async (url, reason) => {
    await his.goto(url);
    await his.click("text=Request access");
    await his.fill("textarea[name=reason]", reason);
    await his.click("button[value=ask]");
    await his.waitForURL((now) => now.pathname.startsWith("/access/waiting/"));
  };

  // Somebody works here.
  await signIn(his, `${grafana}/d/7`, "bob");
  await signIn(hers, `${home}/`, "alice");
  const open = [grafana, at("wiki"), at("ci"), at("tickets"), at("tracing")];
  for (let round = 0; round < 12; round++) {
    for (const url of open.slice(0, 1 + (round % open.length))) await his.goto(`${url}/pages/${round}`);
    if (round % 3 === 0) await his.goto(`${payroll}/reports/2031`);
    await hers.goto(`${grafana}/d/${round}`);
  }
  await ask(`${releases}/`, "to release the fix of last night");
  await hers.goto(`${home}/access/requests`);
  await hers.click("button:has-text('Approve')");
  await ask(`${at("vault")}/`, "to rotate the key of the mail relay");

  // A refusal says why.
  await his.setViewportSize({ width: 820, height: 640 });
  await his.goto(`${payroll}/reports/2031`);
  assert((await text(his)).includes("Why not"), "he is told why:", await text(his));
  await take(his, "refusal");
  await his.setViewportSize(wide);
  await his.emulateMedia({ colorScheme: "light" });
  await his.goto(`${home}/`);
  assert((await text(his)).includes("ends in"), "something is granted:", await text(his));
  await take(his, "portal");

  // A rule, and whom a change of it would hit. What Bob did has to arrive in the store first.
  await hers.goto(`${home}/console/rules/staff-may-see-dashboards`);
  await hers.click("text=Edit");
  const groups = hers.locator("textarea[name='f.from.0.groups']");
  const loses = hers.locator("#outcome >> text=would lose access");
  for (let tries = 0; !(await loses.isVisible()); tries++) {
    assert(tries < 60, "nobody would lose anything:", await hers.innerText("#outcome"));
    await groups.fill(tries % 2 ? "sre" : "sre\n");
    await hers.waitForSelector("#outcome:not([aria-busy]) .preview");
  }
  // The text stays beside the form while one reads what it would do.
  await groups.blur();
  await hers.setViewportSize({ width: 1200, height: 960 });
  await hers.locator("#outcome").evaluate((outcome) => window.scrollTo(0, outcome.getBoundingClientRect().top + window.scrollY - 420));
  await take(hers, "rule");
  await hers.setViewportSize(wide);

  await hers.goto(`${home}/console`);
  const counted = async () => (await hers.locator(".stat .value").nth(1).innerText()) !== "0";
  for (let tries = 0; !(await counted()); tries++) {
    assert(tries < 60, "nothing is counted:", await text(hers));
    await hers.reload();
  }
  await take(hers, "overview");
  return { pictures: ["portal", "overview", "rule", "refusal"] };
});
