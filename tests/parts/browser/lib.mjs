// What the browser's scripts share. Each script is run with one argument, JSON: { ports, trust?, shots? }; it prints JSON and
// exits with 0, or says on standard error what was not as it should be and exits with 1.
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const input = JSON.parse(process.argv[2]);
const { http, https, provider } = input.ports;
export const at = (name, secure = false) =>
  secure ? `https://${name}.localhost:${https}` : `http://${name}.localhost:${http}`;
export const home = at("access");
export const grafana = at("grafana");
export const payroll = at("payroll");
export const releases = at("releases");
export const issuer = `http://localhost:${provider}`;

export function assert(condition, what, ...more) {
  if (!condition) throw new Error([what, ...more.map((one) => JSON.stringify(one))].join(" "));
}

// Trusts, beside what everybody trusts, the one key of the certificate in `trust`.
function launch() {
  // Containers often have next to no /dev/shm, and pages crash there once it is full.
  const args = ["--no-sandbox", "--disable-dev-shm-usage"];
  if (input.trust) {
    const key = new X509Certificate(readFileSync(input.trust)).publicKey.export({ type: "spki", format: "der" });
    args.push(`--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`);
  }
  return chromium.launch({ executablePath: process.env.WAYLEAVE_TEST_CHROMIUM, args });
}

// A browser context that notes everything on its consoles. Refusals by the content security policy appear there, as errors.
export async function person(browser, options = {}) {
  const context = await browser.newContext(options);
  const complaints = [];
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.location().url}: ${message.text()}`);
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  return {
    context,
    complaints,
    page: () => context.newPage(),
    // Fails unless every complaint is about a status that was expected.
    calm(...expected) {
      const rest = complaints.filter((text) => !expected.some((status) => text.includes(`status of ${status}`)));
      assert(rest.length === 0, "the console is not calm:", rest);
    },
  };
}

// Opens a page and signs in where the provider asks who it is.
export async function signIn(page, url, who) {
  await page.goto(url);
  await pick(page, who);
  await page.waitForURL((now) => now.origin === new URL(url).origin && !now.pathname.startsWith("/.wayleave/arrive"));
}

export async function pick(page, who) {
  assert(page.url().startsWith(issuer), "the provider asks who it is; this is", page.url());
  await page.click(`button[name=person][value=${who}]`);
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
export const sizes = { wide: { width: 1280, height: 860 }, narrow: { width: 390, height: 844 } };

// Does not scroll sideways, and fails no rule of axe-core.
export async function checked(page, name) {
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert(wider <= 0, `${name} scrolls sideways by`, wider);
  // Not a script tag, which the page's policy would refuse.
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => globalThis.axe.run({ runOnly: { type: "tag", values: tags } }), tags);
  const faults = found.violations.map((one) => ({ rule: one.id, at: one.nodes.map((node) => `${node.html} ${node.failureSummary}`) }));
  assert(faults.length === 0, `${name} is not accessible:`, faults);
}

// Layout that moves while the page loads would be seen by whoever is about to click.
export const shifted = () =>
  new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
  });

export const text = (page) => page.innerText("body");

export async function run(script) {
  let browser;
  try {
    browser = await launch();
    console.log(JSON.stringify((await script(browser)) ?? {}));
  } catch (error) {
    console.error(error.stack);
    process.exitCode = 1;
  } finally {
    await browser?.close();
  }
}
