import express, { Router } from 'express'
import type { Request } from 'express'
import { fieldOf } from '../fields.ts'

/** Which colours somebody prefers; `auto` follows the system. */
export type Theme = (typeof THEMES)[number]

/** All themes, in the order of the menu. */
export const THEMES = ['auto', 'light', 'dark'] as const

const COOKIE = 'theme'
const YEAR_MS = 365 * 86_400_000

/** The theme this browser asked for. Needs cookie-parser; whatever else the cookie says is `auto`. */
export function themeOf(req: Request): Theme {
  return toTheme(fieldOf(req.cookies, COOKIE))
}

/** POST /theme: remembers the choice and goes back to the page it was made on. */
export function themeRoutes(): Router {
  const router = Router()
  router.post('/theme', express.urlencoded({ extended: false, limit: '1kb' }), (req, res) => {
    res.cookie(COOKIE, toTheme(fieldOf(req.body, 'theme')), {
      httpOnly: true,
      sameSite: 'lax',
      maxAge: YEAR_MS,
    })
    res.redirect(303, toPage(fieldOf(req.body, 'page')))
  })
  return router
}

function toTheme(value: unknown): Theme {
  return THEMES.find((theme) => theme === value) ?? 'auto'
}

/** A page of this app: one slash and a plain name, so never another site's address. */
function toPage(value: unknown): string {
  return typeof value === 'string' && /^\/[a-z]*$/.test(value) ? value : '/'
}
