import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { startExample } from '../support/example-process.ts'
import type { ExampleProcess } from '../support/example-process.ts'

/** What a page may wait for something, at most. */
const PATIENCE_MS = 60_000
/** How long a login is fresh: long enough for what follows it on a machine that stalls. */
const FRESH = '6s'
const NOT_FRESH_MS = 6200

/** Logs in without the form, which has its own tests, and opens a page. */
async function logIn(context: BrowserContext, path = '/', user = 'alice'): Promise<Page> {
  const password = user === 'alice' ? 'wonderland-7' : 'builder-7'
  await context.request.post('/auth/login', { data: { username: user, password } })
  const page = await context.newPage()
  await page.goto(path)
  await page.getByRole('navigation').waitFor()
  return page
}

function devices(page: Page): Locator {
  return page.getByRole('listitem').filter({ hasText: 'logged in' })
}

/** Waits for a text that a person, or a screen reader, meets in this role. */
async function sees(
  page: Page,
  role: 'status' | 'alert' | 'heading' | 'listitem',
  text: string | RegExp,
) {
  await page.getByRole(role).filter({ hasText: text }).first().waitFor()
  return true
}

/** Waits for the live view to show this status for a route. */
async function answers(page: Page, path: string, status: number) {
  await page.locator(`[data-path="${path}"]`).getByText(String(status)).waitFor()
  return true
}

/** Somebody comes back to the tab. */
function comeBack(page: Page): Promise<void> {
  return page.evaluate(() => {
    document.dispatchEvent(new Event('visibilitychange'))
  })
}

/** The id of what has the focus. */
function focused(page: Page): Promise<string | undefined> {
  return page.evaluate(() => document.activeElement?.id)
}

/** A refresh from this tab, past the lock that the page's own module takes; its status. */
function refreshUnlocked(page: Page): Promise<number> {
  return page.evaluate(async () => (await fetch('/auth/refresh', { method: 'POST' })).status)
}

// The machine may be busy with other tests; a hang is found by PATIENCE_MS.
describe('the example in a browser', () => {
  let example: ExampleProcess
  let browser: Browser
  let contexts: BrowserContext[] = []
  let complaints: string[] = []

  beforeAll(async () => {
    example = await startExample({ TRANSFER_MAX_AUTH_AGE: FRESH })
    browser = await launchChromium()
  }, 300_000)

  afterAll(async () => {
    await browser.close()
    await example.stop()
  })

  beforeEach(() => {
    complaints = []
  })

  afterEach(async () => {
    await Promise.all(contexts.splice(0).map((context) => context.close()))
    // No violation of the policy, no exception, nothing missing: whatever the test was about.
    expect(complaints).toEqual([])
  })

  /** A browser of its own: other cookies, other memory. */
  async function openBrowser(): Promise<BrowserContext> {
    const context = await browser.newContext({ baseURL: example.url, locale: 'en' })
    context.setDefaultTimeout(PATIENCE_MS)
    context.on('weberror', (err) => complaints.push(String(err.error())))
    context.on('console', (message) => {
      const isRefusal = /the server responded with a status of 401/.test(message.text())
      const isBad = message.type() === 'error' || message.type() === 'warning'
      // Chromium reports every 401 as an error; here they are what is tested.
      if (isBad && !isRefusal) complaints.push(message.text())
    })
    contexts.push(context)
    return context
  }

  it('logs in by keyboard alone', async () => {
    const page = await (await openBrowser()).newPage()
    await page.goto('/')
    await page.keyboard.type('alice')
    await page.keyboard.press('Tab')
    await page.keyboard.type('wonderland-7')
    await page.keyboard.press('Enter')
    expect(await sees(page, 'heading', 'Your account')).toBe(true)
    await page.keyboard.press('Tab')
    expect(await focused(page)).toBe('skip')
  })

  it('says that a password is wrong, and puts the cursor there', async () => {
    const page = await (await openBrowser()).newPage()
    await page.goto('/')
    await page.getByLabel('User name').fill('alice')
    await page.getByLabel('Password').fill('wonderland-8')
    await page.keyboard.press('Enter')
    expect(await sees(page, 'alert', 'The user name or the password is wrong.')).toBe(true)
    expect(await focused(page)).toBe('password')
    expect(await page.getByLabel('Password').getAttribute('aria-invalid')).toBe('true')
  })

  it('keeps every credential from scripts', async () => {
    const context = await openBrowser()
    const page = await logIn(context)
    await devices(page).first().waitFor()
    const cookies = await context.cookies()
    const common = { httpOnly: true, secure: false, path: '/', domain: 'localhost' }
    expect(cookies).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: 'latchkey-session', sameSite: 'Lax', ...common }),
        expect.objectContaining({ name: 'latchkey-refresh', sameSite: 'Strict', ...common }),
      ]),
    )
    expect(cookies).toHaveLength(2)
    const visible = await page.evaluate(() => [
      document.cookie,
      localStorage.length,
      sessionStorage.length,
    ])
    expect(visible).toEqual(['', 0, 0])
  })

  it('lists the devices and logs one of them out, which sees it at once', async () => {
    const here = await logIn(await openBrowser(), '/', 'bob')
    const there = await logIn(await openBrowser(), '/live', 'bob')
    expect(await answers(there, '/api/hybrid', 200)).toBe(true)

    await here.reload()
    await devices(here).nth(1).waitFor()
    expect(await devices(here).count()).toBe(2)
    const marks = devices(here).getByText('This device').filter({ visible: true })
    expect(await marks.count()).toBe(1)
    await devices(here).getByRole('button').click()
    expect(await sees(here, 'status', /is logged out/)).toBe(true)
    expect(await devices(here).count()).toBe(1)

    expect(await answers(there, '/api/hybrid', 401)).toBe(true)
    expect(await answers(there, '/api/session', 401)).toBe(true)
    expect(await answers(there, '/api/jwt', 401)).toBe(true)
    await there.getByRole('button', { name: 'Refresh now' }).click()
    expect(await sees(there, 'status', 'Your session has ended')).toBe(true)
    await here.reload()
    expect(await sees(here, 'heading', 'Your account')).toBe(true)
  })

  it('logs the other devices out', async () => {
    const here = await logIn(await openBrowser(), '/', 'bob')
    const there = await logIn(await openBrowser(), '/transfer', 'bob')
    await here.getByRole('button', { name: 'Log out the others' }).click()
    expect(await sees(here, 'status', /other devices? (?:is|are) logged out/)).toBe(true)
    await comeBack(there)
    expect(await sees(there, 'status', 'Your session has ended')).toBe(true)
    expect(await devices(here).count()).toBe(1)
  })

  it('logs out everywhere, which other browsers and tabs notice', async () => {
    const context = await openBrowser()
    const here = await logIn(context)
    const there = await logIn(await openBrowser())
    const tab = await context.newPage()
    await tab.goto('/transfer')
    await here.getByRole('button', { name: 'Log out everywhere' }).click()
    expect(await sees(here, 'status', 'You are logged out on every device.')).toBe(true)
    expect(await sees(tab, 'status', 'Your session has ended')).toBe(true)
    await comeBack(there)
    expect(await sees(there, 'status', 'Your session has ended')).toBe(true)
    // And the form works.
    await there.getByLabel('User name').fill('alice')
    await there.getByLabel('Password').fill('wonderland-7')
    await there.keyboard.press('Enter')
    expect(await sees(there, 'heading', 'Your account')).toBe(true)
  })

  it('logs out here', async () => {
    const context = await openBrowser()
    const page = await logIn(context)
    await page.getByRole('button', { name: 'Log out here' }).click()
    expect(await sees(page, 'status', 'You are logged out.')).toBe(true)
    expect(await context.cookies()).toEqual([])
  })

  it('survives two tabs that refresh at the same time, fifty times', async () => {
    const context = await openBrowser()
    const one = await logIn(context)
    const two = await context.newPage()
    await two.goto('/live')
    for (let round = 0; round < 50; round++) {
      const statuses = await Promise.all([refreshUnlocked(one), refreshUnlocked(two)])
      expect(statuses).toEqual([200, 200])
    }
    await Promise.all([one.reload(), two.reload()])
    await devices(one).first().waitFor()
    expect(await answers(two, '/api/jwt', 200)).toBe(true)
    await two.getByRole('button', { name: 'Refresh now' }).click()
    expect(await sees(two, 'status', 'The access token is renewed.')).toBe(true)
  })

  it('survives a browser that wakes up with many tabs', async () => {
    const context = await openBrowser()
    const tabs = [await logIn(context)]
    for (let tab = 1; tab < 6; tab++) tabs.push(await context.newPage())
    for (let round = 0; round < 3; round++) {
      await Promise.all(tabs.map((tab) => tab.goto('/')))
      for (const tab of tabs) expect(await sees(tab, 'listitem', 'This device')).toBe(true)
    }
  })

  it('asks for the password again before an old login may transfer', async () => {
    const page = await logIn(await openBrowser(), '/transfer')
    const dialog = page.getByRole('dialog', { name: 'Confirm that it is you' })
    const transfer = page.getByRole('button', { name: 'Transfer' })
    await page.waitForTimeout(NOT_FRESH_MS)
    await transfer.press('Enter')
    await dialog.waitFor()
    expect(await focused(page)).toBe('step-up-password')

    await page.keyboard.press('Escape')
    expect(await sees(page, 'status', 'Nothing was transferred.')).toBe(true)
    expect(await focused(page)).toBe('transfer-button')

    await page.keyboard.press('Enter')
    await dialog.waitFor()
    await page.keyboard.type('wonderland-8')
    await page.keyboard.press('Enter')
    expect(await sees(page, 'alert', 'The user name or the password is wrong.')).toBe(true)
    await page.keyboard.type('wonderland-7')
    await page.keyboard.press('Enter')
    expect(await sees(page, 'status', '25 coins are on their way to bob.')).toBe(true)
    expect(await dialog.isVisible()).toBe(false)
  })

  it('remembers the colours', async () => {
    const page = await logIn(await openBrowser())
    await page.getByRole('button', { name: 'dark' }).click()
    const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    await page.locator('[data-theme="dark"]').waitFor()
    // With its style sheet.
    await page.waitForLoadState('load')
    const dark = await colour()
    await page.getByRole('button', { name: 'light' }).click()
    await page.locator('[data-theme="light"]').waitFor()
    await page.waitForLoadState('load')
    expect(await colour()).not.toBe(dark)
  })
})
