import type { Request } from 'express'
import { ClientAddresses } from '../lib/client-addresses.ts'
import type { Core } from '../lib/core.ts'
import { finding } from '../lib/findings.ts'

/** Makes the watch for a proxy that is taken for its clients. */
export function createAddressWatch({ doctor }: Core): (req: Request) => void {
  const addresses = new ClientAddresses()
  return (req) => {
    const named = req.headers['x-forwarded-for']
    if (named === undefined || !addresses.watching) return
    const forwarded = String(named)
      .split(',')
      .map((address) => address.trim())
    // Express lists those that `trust proxy` believes.
    const origin = { ip: req.ip, forwarded, trusted: req.ips.length }
    if (addresses.observe(origin)) doctor.note(FOUND)
  }
}

const FOUND = finding(
  'proxy_address',
  "every client has the address of a proxy, so limits for a network are everybody's, and the audit " +
    "trail says nothing: set Express's trust proxy to your proxies or to how many there are",
)
