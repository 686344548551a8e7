import type { IncomingMessage, ServerResponse } from 'node:http'
import type { NextFunction, Request, Response } from 'express'
import { ConfigError } from '../lib/errors.ts'

/**
 * An Express middleware that lets a request pass with `req.auth`, or answers it; at once when nobody need be
 * asked. Never sets a cookie.
 * Typed by what Node gives, so that a route keeps what Express infers of its path.
 */
export type Guard = (
  req: IncomingMessage,
  res: ServerResponse,
  next: (error?: unknown) => void,
) => void | Promise<void>

/** Names a handler for stacks, and types it as Express calls it. */
export function asGuard(
  name: string,
  handle: (req: Request, res: Response, next: NextFunction) => void | Promise<void>,
): Guard {
  Object.defineProperty(handle, 'name', { value: name })
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only Express calls it
  return handle as unknown as Guard
}

/**
 * Catches a factory that was passed on without being called. `app.use` asks a function for `handle`
 * to find out whether it is an app, so the mistake shows at start; elsewhere the first request finds
 * it.
 */
export function refuseUncalled<Factory extends (...args: never[]) => unknown>(
  name: string,
  factory: Factory,
): Factory {
  const uncalled = () => new ConfigError(name, `is a factory: write ${name}(), not ${name}`)
  const called = (...args: Parameters<Factory>): ReturnType<Factory> => {
    const first: unknown = args[0]
    if (typeof first === 'object' && first !== null && 'rawHeaders' in first) throw uncalled()
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its own return type
    return factory(...args) as ReturnType<Factory>
  }
  Object.defineProperties(called, {
    name: { value: name },
    handle: {
      get() {
        throw uncalled()
      },
    },
  })
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- same parameters, same result
  return called as unknown as Factory
}
