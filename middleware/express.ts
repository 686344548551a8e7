import type { Auth } from '../lib/auth.ts'

declare global {
  // oxlint-disable-next-line typescript/no-namespace -- how Express lets a request be extended
  namespace Express {
    interface Request {
      /** Who is asking, set by the guard that let the request pass. */
      auth?: Auth
    }
  }
}
