import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import express from 'express'
import type { Browser, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import type { TestKit } from '../support/kit.ts'
import { closeKits, listen, openKit, PASSWORD } from '../support/kit.ts'

/**
 * What a page of another origin gets to see, in a real browser: the routes also say
 * `Cross-Origin-Resource-Policy: same-origin`, which is for requests without CORS only (Fetch §3.7).
 */
describe('a page of another origin', () => {
  let browser: Browser
  let kit: TestKit
  let pagesPort: number

  beforeAll(async () => {
    browser = await launchChromium()
    const pages = await listen(express().use((_req, res) => void res.type('html').send('<p>page')))
    pagesPort = pages.port
    kit = await openKit({
      options: {
        issuer: 'http://localhost:3000',
        // Pages on ports of one host are of one site: the cookies go along, the origins differ.
        allowedOrigins: [`http://localhost:${pagesPort}`],
        cors: { origins: [`http://localhost:${pagesPort}`] },
      },
    })
  })
  afterAll(async () => {
    await browser.close()
    await closeKits()
  })

  async function openPage(host: string): Promise<Page> {
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.goto(`http://${host}:${pagesPort}/`)
    return page
  }

  /** What a script of the page makes of a request: a status and a code, or nothing at all. */
  async function ask(page: Page, path: string, body?: object): Promise<unknown> {
    const url = `http://localhost:${kit.port}${path}`
    return page.evaluate(
      async ([target, json]) => {
        const init: RequestInit = { credentials: 'include', method: json === null ? 'GET' : 'POST' }
        if (json !== null) {
          init.body = json
          init.headers = { 'Content-Type': 'application/json' }
        }
        try {
          const res = await fetch(target, init)
          const text = await res.text()
          const { user_id: user, session, code } = text === '' ? {} : JSON.parse(text)
          return [res.status, user ?? session?.user_id ?? code ?? null]
        } catch {
          return 'unreadable'
        }
      },
      [url, body === undefined ? null : JSON.stringify(body)] as const,
    )
  }

  const GOOD = { username: 'alice', password: PASSWORD }

  it('that is listed logs in, refreshes, reads and logs out', async () => {
    const page = await openPage('localhost')
    expect(await ask(page, '/auth/login', { ...GOOD, password: 'x' })).toEqual([
      401,
      'invalid_credentials',
    ])
    expect(await ask(page, '/auth/login', GOOD)).toEqual([200, 'alice'])
    expect(await ask(page, '/auth/session')).toEqual([200, 'alice'])
    expect(await ask(page, '/auth/refresh', {})).toEqual([200, 'alice'])
    expect(await ask(page, '/auth/logout', {})).toEqual([204, null])
    expect(await ask(page, '/auth/session')).toEqual([401, 'credentials_missing'])
  })

  it('that is not listed can neither send JSON nor read anything', async () => {
    const stranger = await openPage('127.0.0.1')
    const before = kit.spy.calls.length
    expect(await ask(stranger, '/auth/login', GOOD)).toBe('unreadable')
    expect(await ask(stranger, '/auth/session')).toBe('unreadable')
    expect(kit.spy.calls.slice(before)).toEqual([])
  })
})
