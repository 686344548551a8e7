import express, { Router } from 'express'
import type { Request, Response } from 'express'
import type { Latchkey } from 'latchkey'
import type { Config } from './config.ts'
import { sendProblem } from './errors.ts'
import { fieldOf } from './fields.ts'

const MAX_AMOUNT = 10_000

/** The JSON routes: one for each guard, and two that are worth guarding well. */
export function apiRoutes(latchkey: Latchkey, config: Config): Router {
  const router = Router()

  /** What a guard found out about the request. */
  function whoIs(req: Request): Record<string, unknown> {
    const { userId, sessionId, kind, checked } = latchkey.getAuth(req)
    return { user_id: userId, session_id: sessionId, kind, checked }
  }

  function answerWho(req: Request, res: Response): void {
    res.json(whoIs(req))
  }

  router.use((_req, res, next) => {
    res.set('Cache-Control', 'no-store')
    next()
  })

  router.get('/public', (_req, res) => {
    res.json({ message: 'Anyone may read this.' })
  })
  router.get('/session', latchkey.requireSession(), answerWho)
  router.get('/jwt', latchkey.requireJwt(), answerWho)
  router.get('/hybrid', latchkey.hybridGuard(), answerWho)
  router.get('/admin', latchkey.hybridGuard({ sensitive: true, roles: ['admin'] }), answerWho)

  router.post(
    '/transfer',
    // Before the body is read: nobody gets to send one who may not.
    latchkey.hybridGuard({ sensitive: true, maxAuthAge: config.transferMaxAuthAge }),
    express.json({ limit: '1kb' }),
    (req, res) => {
      const transfer = readTransfer(req.body)
      if (transfer === null) {
        sendProblem(res, 400, 'to must be a name, and amount a whole number from 1 to 10000')
        return
      }
      res.json({ ...whoIs(req), transfer })
    },
  )

  return router
}

/** Without a body it is a coin for the piggy bank, so that the route is easy to try by hand. */
function readTransfer(body: unknown): { to: string; amount: number } | null {
  const to = fieldOf(body, 'to') ?? 'piggy bank'
  const amount = fieldOf(body, 'amount') ?? 1
  if (typeof to !== 'string' || to.trim() === '' || to.length > 100) return null
  if (typeof amount !== 'number' || !Number.isInteger(amount)) return null
  return amount >= 1 && amount <= MAX_AMOUNT ? { to: to.trim(), amount } : null
}
