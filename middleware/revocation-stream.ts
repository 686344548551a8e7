import type { Response } from 'express'
import type { RevocationListener } from '../lib/revocation-hub.ts'
import type { Context } from './context.ts'
import type { RouteHandler } from './route.ts'
import { authenticateService } from './services.ts'

/**
 * `GET /revocations`: the feed as a stream of events (WHATWG HTML §9.2), for services that have no
 * store. Resumed by `Last-Event-ID`, on any node.
 */
export function createRevocationStream<Claims extends object>(
  context: Context<Claims>,
): RouteHandler {
  const { hub } = context.core
  return async (req, res) => {
    const { id: service } = await authenticateService(context, req)
    hub.refuseUnable(service)
    res.status(200).set({
      'Content-Type': 'text/event-stream; charset=utf-8',
      // Neither kept nor held back until there is enough to compress.
      'Cache-Control': 'no-store, no-transform',
      'X-Accel-Buffering': 'no',
    })
    if (req.method === 'HEAD') {
      res.end()
      return
    }
    res.flushHeaders()
    // It may have gone while its credential was judged, and would not be heard to go again.
    if (res.destroyed) return
    const leave = hub.join(listenerOf(service, res), req.get('Last-Event-ID'))
    res.once('close', leave)
  }
}

function listenerOf(service: string, res: Response): RevocationListener {
  return {
    service,
    write: (text) => res.write(text),
    async drained() {
      if (res.destroyed || !res.writableNeedDrain) return
      await new Promise<void>((resolve) => {
        const over = () => {
          res.off('drain', over)
          res.off('close', over)
          resolve()
        }
        res.once('drain', over)
        res.once('close', over)
      })
    },
    get waitingBytes() {
      return res.writableLength
    },
    end: () => res.end(),
    cut: () => res.destroy(),
  }
}
