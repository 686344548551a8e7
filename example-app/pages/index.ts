import cookieParser from 'cookie-parser'
import { Router } from 'express'
import type { Request, Response } from 'express'
import type { Latchkey } from 'latchkey'
import { sendProblem } from '../errors.ts'
import { accountPage } from './account.ts'
import { auditPage } from './audit.ts'
import type { Html } from './html.ts'
import { layout } from './layout.ts'
import type { Viewer } from './layout.ts'
import { livePage } from './live.ts'
import { loginPage } from './login.ts'
import { themeOf, themeRoutes } from './theme.ts'
import { transferPage } from './transfer.ts'

/** A page for somebody who is logged in. */
interface MemberPage {
  readonly path: string
  readonly title: string
  readonly script: string
  readonly main: (viewer: Viewer) => Html
  /** Only they see it. What it shows is guarded by itself. */
  readonly role?: string
}

const PAGES: readonly MemberPage[] = [
  { path: '/', title: 'Your account', script: 'account', main: accountPage },
  { path: '/live', title: 'Live view', script: 'live', main: () => livePage() },
  { path: '/transfer', title: 'Transfer', script: 'transfer', main: (v) => transferPage(v.userId) },
  { path: '/audit', title: 'Audit trail', script: 'audit', main: auditPage, role: 'admin' },
]

/** The pages. Who is not logged in finds the login form at the same address. */
export function pageRoutes(latchkey: Latchkey): Router {
  const router = Router()
  router.use(cookieParser(), themeRoutes())

  for (const page of PAGES) {
    router.get(page.path, latchkey.requireSession({ optional: true }), (req, res) => {
      // A script that was told its session is over asks for the form, whatever the cookie says.
      const viewer = 'ended' in req.query ? null : viewerOf(req)
      if (viewer === null) sendLogin(req, res, page.path)
      else if (page.role !== undefined && !viewer.roles.includes(page.role)) sendProblem(res, 403)
      else send(res, { ...page, main: page.main(viewer), theme: themeOf(req), viewer })
    })
  }
  return router

  function viewerOf(req: Request): Viewer | null {
    return req.auth === undefined ? null : latchkey.getAuth(req)
  }
}

function sendLogin(req: Request, res: Response, path: string): void {
  const { ended } = req.query
  const main = loginPage(ended ?? (path === '/' ? undefined : 'needed'))
  send(res, { title: 'Log in', path, script: 'login', main, theme: themeOf(req), viewer: null })
}

function send(res: Response, page: Parameters<typeof layout>[0]): void {
  // A page says who is logged in: no cache may show it to the next one at this screen.
  res.set('Cache-Control', 'no-store').type('html').send(layout(page))
}
