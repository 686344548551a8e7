import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { startExample } from '../support/example-process.ts'
import type { ExampleProcess } from '../support/example-process.ts'

/** What a page may wait for something, at most. */
const PATIENCE_MS = 60_000

const PASSWORDS = { alice: 'wonderland-7', bob: 'builder-7', root: 'admin-only-7' } as const

describe("the example's audit page", () => {
  let example: ExampleProcess
  let browser: Browser
  let context: BrowserContext
  const complaints: string[] = []

  beforeAll(async () => {
    example = await startExample()
    browser = await launchChromium()
    context = await browser.newContext({ baseURL: example.url, locale: 'en' })
    context.setDefaultTimeout(PATIENCE_MS)
    context.on('weberror', (err) => complaints.push(String(err.error())))
    context.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
  }, 300_000)

  afterAll(async () => {
    await browser.close()
    await example.stop()
  })

  function logIn(username: keyof typeof PASSWORDS) {
    return fetch(`${example.url}/auth/login`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, password: PASSWORDS[username] }),
    })
  }

  async function pageFor(username: keyof typeof PASSWORDS, path: string): Promise<Response> {
    const res = await logIn(username)
    const cookies = res.headers.getSetCookie().map((cookie) => cookie.split(';')[0])
    return fetch(example.url + path, { headers: { Cookie: cookies.join('; ') } })
  }

  async function openAsRoot(): Promise<Page> {
    const data = { username: 'root', password: PASSWORDS.root }
    await context.request.post('/auth/login', { data })
    const page = await context.newPage()
    await page.goto('/audit')
    return page
  }

  it('is for the admin, who alone finds it in the menu', async () => {
    const [root, bob, nobody] = await Promise.all([
      pageFor('root', '/audit'),
      pageFor('bob', '/audit'),
      fetch(`${example.url}/audit`),
    ])
    expect([root.status, bob.status, nobody.status]).toEqual([200, 403, 200])
    expect(await root.text()).toContain('<tbody id="events"')
    expect(await bob.text()).not.toContain('<tbody')
    expect(await nobody.text()).toContain('<form id="login"')
    expect(await (await pageFor('root', '/')).text()).toContain('href="/audit"')
    expect(await (await pageFor('bob', '/')).text()).not.toContain('href="/audit"')
  })

  it('shows what happened, narrows it down, and shows more of it', async () => {
    const login = await logIn('alice')
    const Cookie = login.headers.getSetCookie().join('; ')
    for (let count = 0; count < 60; count++) {
      const headers = { Cookie, Origin: 'https://evil.example' }
      await fetch(`${example.url}/api/transfer`, { method: 'POST', headers })
    }
    const page = await openAsRoot()
    const rows = page.locator('#events tr')
    await rows.nth(49).waitFor()
    await page.getByRole('button', { name: 'Show more' }).click()
    await rows.nth(60).waitFor()

    await page.getByLabel('User, or everybody').fill('alice')
    await page.getByRole('button', { name: 'Show', exact: true }).click()
    const alices = rows.filter({ hasText: 'authn_login_success' }).first()
    await alices.filter({ hasText: 'alice' }).waitFor()
    expect(await rows.filter({ hasText: 'malicious_csrf' }).count()).toBe(0)

    await page.getByLabel('User, or everybody').fill('root')
    await page.getByLabel('Event, or any').fill('authz_admin')
    await page.getByRole('button', { name: 'Show', exact: true }).click()
    await page.getByRole('status').filter({ hasText: 'Nothing of the kind' }).waitFor()
    expect(await rows.count()).toBe(0)
    expect(complaints).toEqual([])
  })

  it('shows what a stranger said of itself as text', async () => {
    await fetch(`${example.url}/auth/login`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'User-Agent': '<img src=x onerror=alert(1)>',
      },
      body: '{"username":"bob","password":"wrong"}',
    })
    const page = await openAsRoot()
    await page.locator('#events tr').first().waitFor()
    expect(await page.locator('#events img').count()).toBe(0)
    expect(complaints).toEqual([])
  })
})
